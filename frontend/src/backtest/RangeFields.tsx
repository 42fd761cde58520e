import { useQuery } from "@connectrpc/connect-query";
import { Autocomplete, Progress, Select, SimpleGrid, Text, TextInput } from "@mantine/core";
import { MarketDataService } from "../generated/algotrade/v1/market_data_service_pb";
import type { Range } from "./range";

interface Props {
  value: Range;
  change(value: Range): void;
  /** Sentences of the server by field, such as `history.symbol`. */
  errors: Readonly<Record<string, string>>;
  /** How much of it has been fetched, from 0 to 1, while it is. */
  fetched?: number;
}

/** Whose bars, of which symbol, how long, from when to when. */
export function RangeFields({ value, change, errors, fetched }: Props) {
  const { data } = useQuery(MarketDataService.method.listHistoryProviders, { pageSize: 100 });
  const providers = data?.providers ?? [];
  const chosen = providers.find(({ provider }) => provider === value.provider);
  const symbols = chosen?.symbols ?? [];

  function choose(provider: string): void {
    const next = providers.find((one) => one.provider === provider);
    const interval = next?.intervals.includes(value.interval) ? value.interval : (next?.intervals.at(-1) ?? "");
    change({ ...value, provider, interval, symbol: next?.symbols[0] ?? value.symbol });
  }

  return (
    <>
      <SimpleGrid cols={{ base: 2, sm: 5 }} spacing="sm" mt="sm">
        <Select
          label="Provider"
          data={providers.map(({ provider }) => provider)}
          value={value.provider || null}
          onChange={(provider) => choose(provider ?? "")}
          error={errors["history.provider"]}
          required
        />
        <Autocomplete
          label="Symbol"
          placeholder="BTC-USD"
          data={symbols}
          value={value.symbol}
          onChange={(symbol) => change({ ...value, symbol })}
          error={errors["history.symbol"]}
          required
        />
        <Select
          label="Length of a bar"
          data={chosen?.intervals ?? []}
          value={value.interval || null}
          onChange={(interval) => change({ ...value, interval: interval ?? "" })}
          error={errors["history.interval"]}
          required
        />
        <TextInput
          label="From (UTC)"
          type="date"
          value={value.from}
          onChange={(event) => change({ ...value, from: event.currentTarget.value })}
          error={errors["history.start_time"]}
          required
        />
        <TextInput
          label="To, included"
          type="date"
          value={value.to}
          onChange={(event) => change({ ...value, to: event.currentTarget.value })}
          error={errors["history.end_time"]}
        />
      </SimpleGrid>
      {fetched !== undefined && (
        <>
          <Text size="sm" mt="sm" role="status">
            Fetching what is not here yet: {Math.round(fetched * 100)} %
          </Text>
          <Progress value={fetched * 100} aria-label="Fetched" animated />
        </>
      )}
    </>
  );
}
