import { Badge, Table, Text } from "@mantine/core";
import { exact, momentMs, signed, tone, words } from "../api/format";
import { usePreferences } from "../shell/preferences";
import type { ShownTrade } from "./shownTrade";

const MOST_ROWS = 500;

interface Props {
  trades: readonly ShownTrade[];
  chosen?: number;
  choose?(trade: ShownTrade): void;
}

export function TradesTable({ trades, chosen, choose }: Props) {
  const zone = usePreferences((state) => state.zone);
  if (trades.length === 0) return <Text c="dimmed">No trade.</Text>;
  return (
    <>
      <Table.ScrollContainer minWidth={760} mah={360} type="native">
        <Table stickyHeader highlightOnHover fz="xs">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>#</Table.Th>
              <Table.Th>Side</Table.Th>
              <Table.Th>Entry</Table.Th>
              <Table.Th ta="right">at</Table.Th>
              <Table.Th>Exit</Table.Th>
              <Table.Th ta="right">at</Table.Th>
              <Table.Th>Why</Table.Th>
              <Table.Th ta="right">Quantity</Table.Th>
              <Table.Th ta="right">Fees</Table.Th>
              <Table.Th ta="right">Profit</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {trades.slice(-MOST_ROWS).map((trade) => (
              <Table.Tr
                key={trade.number}
                bg={trade.number === chosen ? "blue.9" : undefined}
                style={choose && { cursor: "pointer" }}
                tabIndex={choose && 0}
                onClick={() => choose?.(trade)}
                onKeyDown={(event) => event.key === "Enter" && choose?.(trade)}
              >
                <Table.Td>{trade.number}</Table.Td>
                <Table.Td>{trade.side}</Table.Td>
                <Table.Td>{momentMs(trade.entryMs, zone)}</Table.Td>
                <Table.Td ta="right">{exact(trade.entryPrice)}</Table.Td>
                <Table.Td>{trade.exitMs === undefined ? "open" : momentMs(trade.exitMs, zone)}</Table.Td>
                <Table.Td ta="right">{exact(trade.exitPrice)}</Table.Td>
                <Table.Td>
                  {words(trade.exitReason)}{" "}
                  {trade.ambiguous && (
                    <Badge size="xs" color="yellow" title="Its exit hung on the assumed path inside a bar.">
                      ambiguous
                    </Badge>
                  )}
                </Table.Td>
                <Table.Td ta="right">{exact(trade.quantity)}</Table.Td>
                <Table.Td ta="right">{signed(trade.fees).replace("+", "")}</Table.Td>
                <Table.Td ta="right" c={tone(trade.pnl)}>
                  {signed(trade.pnl)}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      {trades.length > MOST_ROWS && (
        <Text size="xs" c="dimmed">
          The last {MOST_ROWS} of {trades.length}.
        </Text>
      )}
    </>
  );
}
