import { Table, Text } from "@mantine/core";

const MONTHS = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];

/** Returns by year and month, in percent. */
export function MonthsTable({ returns }: { returns: Readonly<Record<string, string>> }) {
  const years = [...new Set(Object.keys(returns).map((month) => month.slice(0, 4)))].sort();
  if (years.length === 0) return <Text c="dimmed">No month has a bar.</Text>;
  return (
    <Table fz="xs" withTableBorder>
      <Table.Thead>
        <Table.Tr>
          <Table.Th>%</Table.Th>
          {MONTHS.map((month) => (
            <Table.Th key={month} ta="right">
              {month}
            </Table.Th>
          ))}
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {years.map((year) => (
          <Table.Tr key={year}>
            <Table.Th>{year}</Table.Th>
            {MONTHS.map((month) => (
              <Month key={month} text={returns[`${year}-${month}`]} />
            ))}
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

const FULL = 12; // percent from which on a month is as red or green as it gets

function Month({ text }: { text: string | undefined }) {
  if (!text) return <Table.Td />;
  const value = Number(text);
  const strength = Math.min(Math.abs(value) / FULL, 1) * 0.45;
  const color = value >= 0 ? `rgba(32, 201, 151, ${strength})` : `rgba(250, 82, 82, ${strength})`;
  return (
    <Table.Td ta="right" style={{ background: color }}>
      {value.toFixed(1)}
    </Table.Td>
  );
}
