import { useQuery } from "@connectrpc/connect-query";
import { Badge, Button, Paper, Table, Text, Title } from "@mantine/core";
import { identity } from "../api/clients";
import { moment } from "../api/format";
import { tellFailure } from "../api/tell";
import { IdentityService } from "../generated/algotrade/v1/identity_service_pb";
import { confirmed } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";
import { endEverywhere } from "./login";

/** Where the account is logged in, each of which can be ended from here. */
export function Logins() {
  const list = useQuery(IdentityService.method.listLogins, {});
  const zone = usePreferences((state) => state.zone);

  async function end(loginId: string) {
    await identity.endLogin({ loginId }).catch((error) => tellFailure("Not ended", error));
    await list.refetch();
  }

  async function endAll() {
    const sure = await confirmed("Log out everywhere?", "Every login ends, this one too; API keys stay.", "Log out");
    if (sure) await endEverywhere().catch((error) => tellFailure("Not logged out", error));
  }

  return (
    <Paper withBorder p="md" component="section" aria-label="Logins">
      <Title order={2} size="h4" mb="xs">
        Logins
      </Title>
      <Text size="sm" c="dimmed">
        One that you do not know: end it, then change the password.
      </Text>
      <Table mt="sm" fz="sm">
        <Table.Tbody>
          {list.data?.logins.map(({ loginId, createTime, lastUseTime, current }) => (
            <Table.Tr key={loginId}>
              <Table.Td>since {moment(createTime, zone)}</Table.Td>
              <Table.Td>last used {moment(lastUseTime, zone)}</Table.Td>
              <Table.Td ta="right">
                {current ? (
                  <Badge variant="light">this one</Badge>
                ) : (
                  <Button size="compact-xs" variant="subtle" color="red" onClick={() => void end(loginId)}>
                    End
                  </Button>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Button mt="sm" variant="default" onClick={() => void endAll()}>
        Log out everywhere …
      </Button>
    </Paper>
  );
}
