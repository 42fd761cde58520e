// What a backtest did: the server's result, and in its place, once a parameter is moved, that of the browser.

import { Alert, Button, Group, Paper, Tabs, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import { failureOf } from "../api/errors";
import { words } from "../api/format";
import { drawdown, thinned } from "../charts/curve";
import { type Point, PriceChart } from "../charts/PriceChart";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import type { Candle } from "../instant/bars";
import { InstantPanel } from "../instant/InstantPanel";
import { useInstant } from "../instant/useInstant";
import { download } from "../shell/download";
import { usePreferences } from "../shell/preferences";
import { ExplainPanel } from "./ExplainPanel";
import { MainFigures, MetricsTable } from "./MetricsTable";
import { MonthsTable } from "./MonthsTable";
import { computed, marksOf, type ShownTrade, served, spanOf } from "./shownTrade";
import { TradesTable } from "./TradesTable";
import { csvOf, rulesOf } from "./tradesCsv";
import { useDrawn } from "./useBacktest";
import { useIndicators } from "./useIndicators";

const NO_CANDLES: readonly Candle[] = [];
const NO_POINTS: readonly Point[] = [];

export function ResultView({ backtest }: { backtest: Backtest }) {
  const { data: drawn, error } = useDrawn(backtest);
  const zone = usePreferences((state) => state.zone);
  const [live, setLive] = useState(false);
  const [chosen, setChosen] = useState<ShownTrade>();
  const [barMs, setBarMs] = useState<number>();
  const [tab, setTab] = useState<string | null>("trades");
  const instant = useInstant(backtest, live);
  const curve = live ? instant.curve : undefined;
  const rested = live ? instant.rested : undefined;

  const parameters = curve?.parameters ?? backtest.parameters;
  const indicators = useIndicators(backtest, parameters, drawn?.candles ?? NO_CANDLES);

  const madeUnder = rested?.curve.parameters ?? backtest.parameters; // the trades that are shown
  const trades = useMemo(
    () => (rested ? rested.trades.map(computed) : (drawn?.trades.map(served) ?? [])),
    [rested, drawn],
  );
  const fall = useMemo(() => {
    if (!rested || !drawn) return drawn?.drawdown;
    const times = drawn.candles.map(({ ms }) => ms);
    return thinned(times, drawdown(rested.curve.equity, Number(backtest.settings?.initialCash ?? 0)));
  }, [rested, drawn, backtest.settings]);
  const marks = useMemo(() => marksOf(trades, chosen?.number), [trades, chosen]);
  const focus = useMemo(() => chosen && spanOf(chosen), [chosen]);
  const { summary } = backtest;
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;

  function lookAt(ms: number) {
    setBarMs(ms);
    const within = trades.find((trade) => trade.entryMs <= ms && ms <= (trade.exitMs ?? Number.POSITIVE_INFINITY));
    if (within) setChosen(within);
    if (!curve) setTab("explain");
  }

  return (
    <>
      {!curve && <MainFigures metrics={summary?.metrics ?? []} />}
      <InstantPanel backtest={backtest} instant={instant} live={live} setLive={setLive} />
      <Paper withBorder p="xs">
        {indicators.choice}
        <PriceChart
          label="Candles with fills; below them equity and drawdown"
          candles={drawn?.candles ?? NO_CANDLES}
          equity={drawn?.equity ?? NO_POINTS}
          live={curve?.equity}
          drawdown={fall ?? NO_POINTS}
          benchmark={drawn?.benchmark}
          lines={indicators.lines}
          marks={marks}
          zone={zone}
          focus={focus}
          onClick={lookAt}
        />
      </Paper>
      <Tabs value={tab} onChange={setTab} keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="trades">Trades ({trades.length})</Tabs.Tab>
          <Tabs.Tab value="metrics">Figures</Tabs.Tab>
          <Tabs.Tab value="months">Months</Tabs.Tab>
          <Tabs.Tab value="rejections">Rejections</Tabs.Tab>
          <Tabs.Tab value="explain">Explain a bar</Tabs.Tab>
          <Tabs.Tab value="proof">Proof</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="trades" pt="sm">
          <TradesTable trades={trades} chosen={chosen?.number} choose={setChosen} />
          <Button
            size="compact-xs"
            variant="subtle"
            onClick={() =>
              download(`${backtest.name} trades.csv`, csvOf(trades, rulesOf(backtest, madeUnder)), "text/csv")
            }
          >
            Export CSV
          </Button>
        </Tabs.Panel>
        <Tabs.Panel value="metrics" pt="sm">
          {curve && <Text size="sm">Figures are the server's, of the parameters that it ran with.</Text>}
          <MetricsTable metrics={summary?.metrics ?? []} />
        </Tabs.Panel>
        <Tabs.Panel value="months" pt="sm">
          <MonthsTable returns={summary?.monthlyReturns ?? {}} />
        </Tabs.Panel>
        <Tabs.Panel value="rejections" pt="sm">
          <Rejections counts={rested?.rejections ?? summary?.rejections ?? {}} />
        </Tabs.Panel>
        <Tabs.Panel value="explain" pt="sm">
          <ExplainPanel backtest={backtest} ms={barMs} />
        </Tabs.Panel>
        <Tabs.Panel value="proof" pt="sm">
          <Proof backtest={backtest} />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

function Rejections({ counts }: { counts: Readonly<Record<string, bigint | number>> }) {
  const found = Object.entries(counts);
  if (found.length === 0) return <Text c="dimmed">No order was refused.</Text>;
  return (
    <Group>
      {found.map(([reason, count]) => (
        <Text key={reason} size="sm">
          {words(reason)}: <strong>{String(count)}</strong>
        </Text>
      ))}
    </Group>
  );
}

function Proof({ backtest }: { backtest: Backtest }) {
  const { summary, artefactHash, dataHash } = backtest;
  const ns = Number(summary?.runNanos ?? 0n);
  const bars = Number(summary?.bars ?? 0n);
  return (
    <dl className="facts proof">
      {[
        ["result hash", summary?.resultHash],
        ["artefact", artefactHash],
        ["bars", dataHash],
        ["evaluated", `${bars.toLocaleString()} bars, of which ${summary?.warmupBars} to warm up`],
        ["engine", `${(ns / 1e6).toFixed(2)} ms, ${bars ? (ns / bars).toFixed(0) : "–"} ns a bar`],
      ].map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
