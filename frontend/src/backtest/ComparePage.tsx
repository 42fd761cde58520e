import { Alert } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import { type Compared, CompareTable, pairs } from "../runs/CompareTable";

const SHORT = 12; // digits of a hash

export function ComparePage({ ids }: { ids: readonly string[] }) {
  const { data, error } = useQuery({
    queryKey: ["backtests", "compared", ...ids],
    queryFn: async () => {
      const found = await Promise.all(ids.map((backtestId) => backtests.getBacktest({ backtestId })));
      return found.flatMap(({ backtest }) => (backtest ? compared(backtest) : []));
    },
  });
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  return data && <CompareTable runs={data} />;
}

function compared({ backtestId, name, parameters, dataHash, artefactHash, summary }: Backtest): Compared {
  return {
    name,
    path: `/backtests/${backtestId}`,
    facts: { parameters: pairs(parameters), bars: dataHash.slice(0, SHORT), artefact: artefactHash.slice(0, SHORT) },
    figures: summary?.metrics ?? [],
  };
}
