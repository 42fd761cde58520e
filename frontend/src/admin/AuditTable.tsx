import { useInfiniteQuery } from "@connectrpc/connect-query";
import { Table, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { moment, words } from "../api/format";
import { AdminService } from "../generated/algotrade/v1/admin_service_pb";
import { usePreferences } from "../shell/preferences";
import { More, PAGES } from "./More";

const PAGE = 50;
const ACTOR = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function AuditTable() {
  const [typed, setTyped] = useState("");
  const zone = usePreferences((state) => state.zone);
  const actor = ACTOR.test(typed.trim()) ? typed.trim() : "";
  const list = useInfiniteQuery(AdminService.method.listAuditEvents, { pageSize: PAGE, actor, pageToken: "" }, PAGES);
  return (
    <>
      <TextInput
        label="Of one actor"
        placeholder="as the list of users has it"
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
        error={typed && !actor ? "That is no actor." : undefined}
        w={340}
      />
      <Text size="sm" c="dimmed" mt="xs">
        The newest first. Entries are chained by their hashes; `algotrade audit verify` finds one that was changed.
      </Text>
      <Table mt="sm" fz="sm" aria-label="Audit log">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>number</Table.Th>
            <Table.Th>when</Table.Th>
            <Table.Th>what</Table.Th>
            <Table.Th>facts</Table.Th>
            <Table.Th>actor</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {list.data?.pages
            .flatMap(({ events }) => events)
            .map((event) => (
              <Table.Tr key={String(event.number)}>
                <Table.Td>{String(event.number)}</Table.Td>
                <Table.Td>{moment(event.eventTime, zone)}</Table.Td>
                <Table.Td fw={600}>{words(event.action)}</Table.Td>
                <Table.Td>
                  {Object.entries(event.facts)
                    .map(([name, value]) => `${words(name)} ${value}`)
                    .join(", ")}
                </Table.Td>
                <Table.Td>
                  <code>{event.actor}</code>
                </Table.Td>
              </Table.Tr>
            ))}
        </Table.Tbody>
      </Table>
      <More list={list} />
    </>
  );
}
