import { useQuery } from "@connectrpc/connect-query";
import {
  Alert,
  Button,
  Code,
  CopyButton,
  Group,
  Paper,
  PasswordInput,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { type FormEvent, useState } from "react";
import { identity } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { moment } from "../api/format";
import { tellSiblings } from "../api/siblings";
import { tell, tellFailure } from "../api/tell";
import { keepTokens, useLogin } from "../api/tokens";
import { IdentityService } from "../generated/algotrade/v1/identity_service_pb";
import { confirmed } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";
import { Logins } from "./Logins";

export function AccountPage() {
  const user = useLogin((state) => state.user);
  return (
    <Stack component="main" p="lg" maw={800}>
      <Title order={1} size="h2">
        Account
      </Title>
      <Text>{user?.email}</Text>
      <PasswordForm />
      <Logins />
      <ApiKeys />
    </Stack>
  );
}

function PasswordForm() {
  const [currentPassword, setCurrent] = useState("");
  const [newPassword, setNext] = useState("");
  const [failure, setFailure] = useState<Failure>();

  async function change(event: FormEvent) {
    event.preventDefault();
    setFailure(undefined);
    try {
      const { token } = await identity.changePassword({ currentPassword, newPassword });
      keepTokens(token, undefined);
      tellSiblings();
      setCurrent("");
      setNext("");
      tell("The password is changed", "Every other login has ended.");
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  return (
    <Paper withBorder p="md" component="form" onSubmit={(event: FormEvent) => void change(event)}>
      <Title order={2} size="h4" mb="xs">
        Password
      </Title>
      <Group align="end" grow>
        <PasswordInput
          label="Until now"
          autoComplete="current-password"
          value={currentPassword}
          onChange={(event) => setCurrent(event.currentTarget.value)}
          error={failure?.fields.current_password}
          required
        />
        <PasswordInput
          label="From now on, at least 12 characters"
          autoComplete="new-password"
          minLength={12}
          value={newPassword}
          onChange={(event) => setNext(event.currentTarget.value)}
          error={failure?.fields.new_password}
          required
        />
      </Group>
      {failure && Object.keys(failure.fields).length === 0 && (
        <Alert color="red" mt="xs" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Button type="submit" mt="sm">
        Change the password
      </Button>
    </Paper>
  );
}

function ApiKeys() {
  const list = useQuery(IdentityService.method.listApiKeys, { pageSize: 100 });
  const zone = usePreferences((state) => state.zone);
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");

  async function make(event: FormEvent) {
    event.preventDefault();
    try {
      const made = await identity.createApiKey({ requestId: crypto.randomUUID(), name });
      setSecret(made.secret);
      setName("");
      await list.refetch();
    } catch (error) {
      tellFailure("No key was made", error);
    }
  }

  async function remove(apiKeyId: string, what: string) {
    if (!(await confirmed(`Delete the key ${what}?`, "Programs that use it stop being let in.", "Delete"))) return;
    await identity.deleteApiKey({ apiKeyId }).catch((error) => tellFailure("Not deleted", error));
    await list.refetch();
  }

  return (
    <Paper withBorder p="md">
      <Title order={2} size="h4" mb="xs">
        API keys
      </Title>
      <Text size="sm" c="dimmed" mb="xs">
        For programs: ExchangeApiKey trades one for access tokens, which may do everything but change the account.
      </Text>
      <form onSubmit={(event) => void make(event)}>
        <Group align="end">
          <TextInput
            label="What the key is for"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            maxLength={100}
            required
            flex={1}
          />
          <Button type="submit">Make a key</Button>
        </Group>
      </form>
      {secret && (
        <Alert color="yellow" mt="sm" title="Copy the key now: it is not shown again">
          <Group>
            <Code>{secret}</Code>
            <CopyButton value={secret}>
              {({ copied, copy }) => (
                <Button size="compact-xs" variant="default" onClick={copy}>
                  {copied ? "Copied" : "Copy"}
                </Button>
              )}
            </CopyButton>
          </Group>
        </Alert>
      )}
      <Table mt="sm" fz="sm">
        <Table.Tbody>
          {list.data?.apiKeys.map((key) => (
            <Table.Tr key={key.apiKeyId}>
              <Table.Td fw={600}>{key.name}</Table.Td>
              <Table.Td>made {moment(key.createTime, zone)}</Table.Td>
              <Table.Td>{key.lastUseTime ? `used ${moment(key.lastUseTime, zone)}` : "never used"}</Table.Td>
              <Table.Td ta="right">
                <Button
                  size="compact-xs"
                  variant="subtle"
                  color="red"
                  onClick={() => void remove(key.apiKeyId, key.name)}
                >
                  Delete
                </Button>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}
