// The numbers of a strategy's drawing as lines of its chart: those in the price's own units over the candles, others below.

import { Chip, Group, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useEffect, useMemo, useState } from "react";
import type { Line } from "../charts/lines";
import { type Catalogue, isPrice } from "../editor/catalogue";
import { useNodeTypes } from "../editor/useNodeTypes";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import type { Port, Series } from "../instant/artefact";
import type { Candle } from "../instant/bars";
import { useProbe } from "../instant/useProbe";

const RESTED_MS = 800; // while a parameter is dragged, lines wait for the hand to rest
const FIRST_OVER = 4; // lines over the candles at first
const FIRST_BELOW = 1; // nodes with a pane below at first
const LEAST_KINDS = new Set(["data", "math", "action", "risk", "logic"]); // shown when asked for

const NONE: readonly string[] = [];

const idOf = ({ node, port }: Port) => `${node}.${port}`;

export function useIndicators(
  backtest: Backtest,
  parameters: Readonly<Record<string, string>>,
  candles: readonly Candle[],
) {
  const { data: catalogue } = useNodeTypes();
  const { ports, series, failure, ask } = useProbe(backtest);
  const [asked, setAsked] = useState<readonly string[]>();
  const first = useMemo(() => (ports && catalogue ? firstOf(ports, catalogue) : NONE), [ports, catalogue]);
  const wanted = asked ?? first;
  const [text] = useDebouncedValue(JSON.stringify(parameters), RESTED_MS);
  useEffect(() => {
    if (ports && wanted.length > 0) ask(numbers(JSON.parse(text)), wanted);
  }, [ask, ports, text, wanted]);
  const lines = useMemo(
    () => (ports && series && catalogue ? linesOf(ports, series, wanted, placing(catalogue, candles)) : []),
    [ports, series, wanted, catalogue, candles],
  );
  const choice = failure ? (
    <Text size="xs" c="dimmed">
      No indicators: {failure}
    </Text>
  ) : (
    ports && (
      <Chip.Group multiple value={[...wanted]} onChange={setAsked}>
        <Group gap={6} role="group" aria-label="Indicators">
          {ports.map((port) => (
            <Chip key={idOf(port)} value={idOf(port)} size="xs">
              {labelOf(port, ports)}
            </Chip>
          ))}
        </Group>
      </Chip.Group>
    )
  );
  return { lines, choice };
}

const numbers = (texts: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, Number(value)]));

/** A node with several outputs names the one that is meant. */
const labelOf = (port: Port, ports: readonly Port[]) =>
  ports.filter(({ node }) => node === port.node).length > 1 ? idOf(port) : port.node;

function firstOf(ports: readonly Port[], catalogue: Catalogue): string[] {
  const telling = ports.filter(({ type }) => !LEAST_KINDS.has(catalogue.get(type)?.category ?? ""));
  const over = telling.filter((port) => isPrice(catalogue, port.type, port.port)).slice(0, FIRST_OVER);
  const below = telling.filter((port) => !isPrice(catalogue, port.type, port.port));
  const nodes = [...new Set(below.map(({ node }) => node))].slice(0, FIRST_BELOW);
  return [...over, ...below.filter(({ node }) => nodes.includes(node))].map(idOf);
}

type Over = (port: Port, values: Float64Array) => boolean;

/** Whether a line belongs over the candles: it is an average or the like, and of prices, not of something else. */
function placing(catalogue: Catalogue, candles: readonly Candle[]): Over {
  const low = candles.reduce((least, candle) => Math.min(least, candle.low), Number.POSITIVE_INFINITY);
  const high = candles.reduce((most, candle) => Math.max(most, candle.high), 0);
  return ({ type, port }, values) => {
    const last = values.findLast(Number.isFinite) ?? Number.NaN;
    return isPrice(catalogue, type, port) && last > low / 2 && last < high * 2;
  };
}

function linesOf(ports: readonly Port[], { ms, columns }: Series, wanted: readonly string[], over: Over): Line[] {
  return ports.flatMap((port) => {
    const id = idOf(port);
    const values = columns[id];
    if (!values || !wanted.includes(id)) return [];
    return [{ id, label: labelOf(port, ports), pane: over(port, values) ? undefined : port.node, ms, values }];
  });
}
