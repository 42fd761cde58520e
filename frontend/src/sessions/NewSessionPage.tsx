import { useQuery } from "@connectrpc/connect-query";
import { Group, Select, TextInput } from "@mantine/core";
import { useState } from "react";
import { sessions } from "../api/clients";
import { MarketDataService } from "../generated/algotrade/v1/market_data_service_pb";
import { type Run, RunForm } from "../runs/RunForm";
import { INTERVALS } from "../runs/settings";

export function NewSessionPage({ strategyId }: { strategyId?: string }) {
  const [symbol, setSymbol] = useState("");
  const [name, setName] = useState("");
  const symbols = useQuery(MarketDataService.method.listSymbols, { pageSize: 1000 });
  const bars = symbols.data?.symbols.find((one) => one.symbol === symbol)?.bars;

  async function start(run: Run): Promise<string> {
    const { session } = await sessions.createSession({ requestId: crypto.randomUUID(), name, symbol, ...run });
    const sessionId = session?.sessionId ?? "";
    await sessions.startSession({ sessionId, requestId: crypto.randomUUID() });
    return `/sessions/${sessionId}`;
  }

  return (
    <RunForm
      title="Trade on paper"
      verb="Start the session"
      strategyId={strategyId}
      ready={symbol !== ""}
      intervals={bars ? INTERVALS : ["tick", ...INTERVALS.filter((one) => one !== "native")]}
      start={start}
    >
      {(errors) => (
        <Group grow align="start">
          <Select
            label="Symbol"
            description="What it trades, and where the ticks come from."
            data={symbols.data?.symbols.map((one) => ({ value: one.symbol, label: `${one.symbol} (${one.provider})` }))}
            value={symbol || null}
            onChange={(chosen) => setSymbol(chosen ?? "")}
            error={errors.symbol}
            searchable
            required
          />
          <TextInput
            label="Name"
            description="Made of strategy and symbol when empty."
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={errors.name}
          />
        </Group>
      )}
    </RunForm>
  );
}
