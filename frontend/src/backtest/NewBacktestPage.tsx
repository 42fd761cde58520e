import { FileInput, Group, SegmentedControl, Text } from "@mantine/core";
import { useState } from "react";
import { backtests } from "../api/clients";
import { type Run, RunForm } from "../runs/RunForm";
import { MOST_BARS, readBars } from "./csv";
import { deltasOf } from "./deltas";
import { RangeFields } from "./RangeFields";
import { emptyRange, fetchRange, historyOf, isWhole } from "./range";

type Source = "sample" | "range" | "file";

export function NewBacktestPage({ strategyId }: { strategyId?: string }) {
  const [source, setSource] = useState<Source>("sample");
  const [file, setFile] = useState<File | null>(null);
  const [range, setRange] = useState(emptyRange);
  const [fetched, setFetched] = useState<number>();

  async function data() {
    if (source === "range") {
      setFetched(0);
      await fetchRange(range, Date.now(), setFetched).finally(() => setFetched(undefined));
      return { case: "history", value: historyOf(range) } as const;
    }
    if (source === "sample" || !file) return { case: "sample", value: "AAPL" } as const;
    return { case: "deltas", value: deltasOf(readBars(await file.text())) } as const;
  }

  async function start({ strategyId, ...run }: Run): Promise<string> {
    const { backtest } = await backtests.startBacktest({
      requestId: crypto.randomUUID(),
      strategy: { case: "saved", value: { strategyId } },
      data: await data(),
      ...run,
    });
    return `/backtests/${backtest?.backtestId}`;
  }

  return (
    <RunForm
      title="New backtest"
      verb="Run the backtest"
      strategyId={strategyId}
      ready={source === "sample" || (source === "range" ? isWhole(range) : file !== null)}
      start={start}
    >
      {(errors) => (
        <>
          <Text fw={600} mb="xs">
            Bars
          </Text>
          <Group align="end">
            <SegmentedControl
              aria-label="Where the bars come from"
              value={source}
              onChange={(value) => setSource(value as Source)}
              data={[
                { value: "sample", label: "AAPL, daily, 2019 to 2024" },
                { value: "range", label: "A symbol and a range" },
                { value: "file", label: "A CSV file" },
              ]}
            />
            {source === "file" && (
              <FileInput
                aria-label="CSV file"
                placeholder={`timestamp, open, high, low, close, volume; at most ${MOST_BARS.toLocaleString("en-US")} rows`}
                accept=".csv,text/csv"
                value={file}
                onChange={setFile}
                flex={1}
              />
            )}
          </Group>
          {source === "range" && <RangeFields value={range} change={setRange} errors={errors} fetched={fetched} />}
        </>
      )}
    </RunForm>
  );
}
