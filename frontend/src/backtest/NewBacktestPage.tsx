import { FileInput, Group, SegmentedControl, Text } from "@mantine/core";
import { useState } from "react";
import { backtests } from "../api/clients";
import { type Run, RunForm } from "../runs/RunForm";
import { MOST_BARS, readBars } from "./csv";

type Source = "sample" | "file";

export function NewBacktestPage({ strategyId }: { strategyId?: string }) {
  const [source, setSource] = useState<Source>("sample");
  const [file, setFile] = useState<File | null>(null);

  async function data() {
    if (source === "sample" || !file) return { case: "sample", value: "AAPL" } as const;
    const value = readBars(await file.text());
    return { case: "bars", value: { $typeName: "algotrade.v1.BarColumns", ...value } } as const;
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
      ready={source === "sample" || file !== null}
      start={start}
    >
      {() => (
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
                { value: "file", label: "A CSV file" },
              ]}
            />
            {source === "file" && (
              <FileInput
                aria-label="CSV file"
                placeholder={`timestamp, open, high, low, close, volume; at most ${MOST_BARS} rows`}
                accept=".csv,text/csv"
                value={file}
                onChange={setFile}
                flex={1}
              />
            )}
          </Group>
        </>
      )}
    </RunForm>
  );
}
