import { Alert, Stack, Table, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import { metric, words } from "../api/format";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";

/** Backtests beside each other, figure by figure. */
export function ComparePage({ ids }: { ids: readonly string[] }) {
  const { data, error } = useQuery({
    queryKey: ["backtests", "compared", ...ids],
    queryFn: async () => {
      const found = await Promise.all(ids.map((backtestId) => backtests.getBacktest({ backtestId })));
      return found.flatMap(({ backtest }) => backtest ?? []);
    },
  });
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  if (!data) return null;
  const figures = data[0]?.summary?.metrics ?? [];
  return (
    <Stack component="main" p="lg">
      <Title order={1} size="h2">
        Compared
      </Title>
      <Table fz="sm" striped stickyHeader>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Figure</Table.Th>
            {data.map((one) => (
              <Table.Th key={one.backtestId} ta="right">
                <Link href={`/backtests/${one.backtestId}`}>{one.name}</Link>
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          <Facts name="parameters" backtests={data} pick={(one) => pairs(one.parameters)} />
          <Facts name="bars" backtests={data} pick={(one) => one.dataHash.slice(0, 12)} />
          <Facts name="artefact" backtests={data} pick={(one) => one.artefactHash.slice(0, 12)} />
          {figures.map(({ name, unit, definition }) => (
            <Facts
              key={name}
              name={words(name)}
              title={definition}
              backtests={data}
              pick={(one) => metric(one.summary?.metrics.find((figure) => figure.name === name)?.value ?? "", unit)}
            />
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

const pairs = (texts: Readonly<Record<string, string>>) =>
  Object.entries(texts)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

interface FactsProps {
  name: string;
  title?: string;
  backtests: readonly Backtest[];
  pick(one: Backtest): string;
}

function Facts({ name, title, backtests: compared, pick }: FactsProps) {
  return (
    <Table.Tr title={title}>
      <Table.Th>{name}</Table.Th>
      {compared.map((one) => (
        <Table.Td key={one.backtestId} ta="right">
          {pick(one)}
        </Table.Td>
      ))}
    </Table.Tr>
  );
}
