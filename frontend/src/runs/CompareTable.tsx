import { Stack, Table, Title } from "@mantine/core";
import { Link } from "wouter";
import { metric, words } from "../api/format";

export interface Figure {
  name: string;
  value: string;
  unit: string;
  definition: string;
}

/** A run beside others: what it was made of, by name, and its figures. */
export interface Compared {
  name: string;
  path: string;
  facts: Readonly<Record<string, string>>;
  figures: readonly Figure[];
}

/** Runs beside each other, figure by figure. */
export function CompareTable({ runs }: { runs: readonly Compared[] }) {
  const facts = Object.keys(runs[0]?.facts ?? {});
  const figures = runs[0]?.figures ?? [];
  return (
    <Stack component="main" p="lg">
      <Title order={1} size="h2">
        Compared
      </Title>
      <Table fz="sm" striped stickyHeader>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Figure</Table.Th>
            {runs.map(({ path, name }) => (
              <Table.Th key={path} ta="right">
                <Link href={path}>{name}</Link>
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {facts.map((name) => (
            <Row key={name} name={name} runs={runs} pick={(run) => run.facts[name] ?? ""} />
          ))}
          {figures.map(({ name, unit, definition }) => (
            <Row
              key={name}
              name={words(name)}
              title={definition}
              runs={runs}
              pick={(run) => metric(run.figures.find((figure) => figure.name === name)?.value ?? "", unit)}
            />
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

interface RowProps {
  name: string;
  title?: string;
  runs: readonly Compared[];
  pick(run: Compared): string;
}

function Row({ name, title, runs, pick }: RowProps) {
  return (
    <Table.Tr title={title}>
      <Table.Th>{name}</Table.Th>
      {runs.map((run) => (
        <Table.Td key={run.path} ta="right">
          {pick(run)}
        </Table.Td>
      ))}
    </Table.Tr>
  );
}

export const pairs = (texts: Readonly<Record<string, string>>) =>
  Object.entries(texts)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
