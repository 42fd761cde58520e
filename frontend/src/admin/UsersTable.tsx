import { useInfiniteQuery } from "@connectrpc/connect-query";
import { Badge, Button, Table, TextInput, VisuallyHidden } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useState } from "react";
import { admins } from "../api/clients";
import { moment } from "../api/format";
import { tellFailure } from "../api/tell";
import { AdminService, Role, type UserAccount } from "../generated/algotrade/v1/admin_service_pb";
import { told } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";
import { More, PAGES } from "./More";

const PAGE = 50;
const TYPING_MS = 300;

export function UsersTable() {
  const [typed, setTyped] = useState("");
  const [emailPrefix] = useDebouncedValue(typed, TYPING_MS);
  const zone = usePreferences((state) => state.zone);
  const list = useInfiniteQuery(AdminService.method.listUsers, { pageSize: PAGE, emailPrefix, pageToken: "" }, PAGES);

  async function turn({ user, disableTime }: UserAccount) {
    const userId = user?.userId ?? "";
    const text = "Nobody is let in as this user until it is enabled again. Its sessions go on trading.";
    const reason = disableTime
      ? ""
      : await told(`Disable ${user?.email}?`, text, "Disable", "Why (the audit log keeps it: name nobody)");
    if (reason === undefined) return;
    const call = disableTime ? admins.enableUser({ userId }) : admins.disableUser({ userId, reason });
    await call.catch((error) => tellFailure("Nothing was changed", error));
    await list.refetch();
  }

  return (
    <>
      <TextInput
        label="Addresses that begin with"
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
        maxLength={254}
        w={320}
      />
      <Table mt="sm" fz="sm" aria-label="Users">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>address</Table.Th>
            <Table.Th>since</Table.Th>
            <Table.Th>role</Table.Th>
            <Table.Th>state</Table.Th>
            <Table.Th>in the audit log</Table.Th>
            <Table.Th>
              <VisuallyHidden>what to do</VisuallyHidden>
            </Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {list.data?.pages
            .flatMap(({ users }) => users)
            .map((account) => (
              <Table.Tr key={account.user?.userId}>
                <Table.Td fw={600}>{account.user?.email}</Table.Td>
                <Table.Td>{moment(account.user?.createTime, zone)}</Table.Td>
                <Table.Td>{account.role === Role.ADMIN ? "administrator" : "user"}</Table.Td>
                <Table.Td>
                  {account.disableTime ? (
                    <>
                      <Badge color="red" variant="light" title={account.disableReason}>
                        disabled
                      </Badge>{" "}
                      {moment(account.disableTime, zone)}
                    </>
                  ) : (
                    "good"
                  )}
                </Table.Td>
                <Table.Td>
                  <code>{account.actor}</code>
                </Table.Td>
                <Table.Td ta="right">
                  <Button size="compact-xs" variant="default" onClick={() => void turn(account)}>
                    {account.disableTime ? "Enable" : "Disable …"}
                  </Button>
                </Table.Td>
              </Table.Tr>
            ))}
        </Table.Tbody>
      </Table>
      <More list={list} />
    </>
  );
}
