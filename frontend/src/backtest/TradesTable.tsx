import { Table, Text } from "@mantine/core";
import { memo } from "react";
import { exact, momentMs, money, signed, tone, words, type Zone } from "../api/format";
import { usePreferences } from "../shell/preferences";
import type { ShownTrade } from "./shownTrade";

const MOST_ROWS = 200;

interface Props {
  trades: readonly ShownTrade[];
  chosen?: number;
  choose?(trade: ShownTrade): void;
}

export const TradesTable = memo(function TradesTable({ trades, chosen, choose }: Props) {
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
          <tbody>
            {trades.slice(-MOST_ROWS).map((trade) => (
              <Row key={trade.number} trade={trade} chosen={trade.number === chosen} zone={zone} choose={choose} />
            ))}
          </tbody>
        </Table>
      </Table.ScrollContainer>
      {trades.length > MOST_ROWS && (
        <Text size="xs" c="dimmed">
          The last {MOST_ROWS} of {trades.length}.
        </Text>
      )}
    </>
  );
});

interface RowProps {
  trade: ShownTrade;
  chosen: boolean;
  zone: Zone;
  choose?(trade: ShownTrade): void;
}

// Plain cells: while a parameter is dragged there are thousands of them to draw anew.
function Row({ trade, chosen, zone, choose }: RowProps) {
  return (
    <tr
      className={chosen ? "trade chosen" : "trade"}
      tabIndex={choose && 0}
      onClick={() => choose?.(trade)}
      onKeyDown={(event) => event.key === "Enter" && choose?.(trade)}
    >
      <td>{trade.number}</td>
      <td>{trade.side}</td>
      <td>{momentMs(trade.entryMs, zone)}</td>
      <td className="right">{exact(trade.entryPrice)}</td>
      <td>{trade.exitMs === undefined ? "open" : momentMs(trade.exitMs, zone)}</td>
      <td className="right">{exact(trade.exitPrice)}</td>
      <td>
        {words(trade.exitReason)}{" "}
        {trade.ambiguous && <em title="Its exit hung on the assumed path inside a bar.">ambiguous</em>}
      </td>
      <td className="right">{exact(trade.quantity)}</td>
      <td className="right">{money(trade.fees)}</td>
      <td className={`right ${tone(trade.pnl) ?? ""}`}>{signed(trade.pnl)}</td>
    </tr>
  );
}
