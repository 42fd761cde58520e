import { SimpleGrid, Table, TextInput } from "@mantine/core";
import { useState } from "react";
import { metric, words } from "../api/format";
import type { Figure } from "../runs/CompareTable";

const MAIN = ["total_return", "cagr", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "trades"];

/** The figures most looked at. */
export function MainFigures({ metrics }: { metrics: readonly Figure[] }) {
  const found = MAIN.flatMap((name) => metrics.find((one) => one.name === name) ?? []);
  return (
    <SimpleGrid cols={{ base: 2, sm: 4, lg: 8 }} spacing="xs">
      {found.map(({ name, value, unit, definition }) => (
        <div key={name} className="figure" title={definition}>
          <span>{words(name)}</span>
          <strong>{metric(value, unit)}</strong>
        </div>
      ))}
    </SimpleGrid>
  );
}

/** Every figure with its definition. */
export function MetricsTable({ metrics }: { metrics: readonly Figure[] }) {
  const [query, setQuery] = useState("");
  const found = metrics.filter((one) =>
    `${words(one.name)} ${one.definition}`.toLowerCase().includes(query.toLowerCase()),
  );
  return (
    <>
      <TextInput
        size="xs"
        w={260}
        mb="xs"
        placeholder="Search figures"
        aria-label="Search figures"
        value={query}
        onChange={(event) => setQuery(event.currentTarget.value)}
      />
      <Table.ScrollContainer minWidth={600} mah={360} type="native">
        <Table fz="xs" striped>
          <Table.Tbody>
            {found.map(({ name, value, unit, definition }) => (
              <Table.Tr key={name}>
                <Table.Td fw={600}>{words(name)}</Table.Td>
                <Table.Td ta="right">{metric(value, unit)}</Table.Td>
                <Table.Td c="dimmed">{definition}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </>
  );
}
