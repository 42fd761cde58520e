import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { useQuery } from "@connectrpc/connect-query";
import { Alert, Button, Code, CopyButton, Group, Paper, Select, Table, Text, TextInput, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { identity } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { moment } from "../api/format";
import { tellFailure } from "../api/tell";
import { ApiKeyScope, IdentityService } from "../generated/algotrade/v1/identity_service_pb";
import { confirmed } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";

const FIELDS = ["name", "scope", "expire_time"]; // that have a place of their own
const DAY_MS = 86_400_000;
const SCOPES = [
  { value: String(ApiKeyScope.READ), label: "Look only" },
  { value: String(ApiKeyScope.TRADE), label: "Look and trade" },
];
const LIVES = [
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "a year" },
  { value: "", label: "until it is deleted" },
];

/** Keys for programs: what each may do, until when, and when it was used last. */
export function ApiKeys() {
  const list = useQuery(IdentityService.method.listApiKeys, { pageSize: 100 });
  const zone = usePreferences((state) => state.zone);
  const [secret, setSecret] = useState("");

  async function remove(apiKeyId: string, what: string) {
    if (!(await confirmed(`Delete the key ${what}?`, "Programs that use it stop being let in.", "Delete"))) return;
    await identity.deleteApiKey({ apiKeyId }).catch((error) => tellFailure("Not deleted", error));
    await list.refetch();
  }

  return (
    <Paper withBorder p="md" component="section" aria-label="API keys">
      <Title order={2} size="h4" mb="xs">
        API keys
      </Title>
      <Text size="sm" c="dimmed" mb="xs">
        For programs: ExchangeApiKey trades one for access tokens. None of them may change the account.
      </Text>
      <NewKey
        made={(key) => {
          setSecret(key);
          void list.refetch();
        }}
      />
      {secret && <Secret secret={secret} />}
      <Table mt="sm" fz="sm">
        <Table.Tbody>
          {list.data?.apiKeys.map((key) => (
            <Table.Tr key={key.apiKeyId}>
              <Table.Td fw={600}>{key.name}</Table.Td>
              <Table.Td>{SCOPES.find(({ value }) => value === String(key.scope))?.label}</Table.Td>
              <Table.Td>{key.expireTime ? `until ${moment(key.expireTime, zone)}` : "until it is deleted"}</Table.Td>
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

function NewKey({ made }: { made(secret: string): void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState(String(ApiKeyScope.READ));
  const [days, setDays] = useState("90");
  const [failure, setFailure] = useState<Failure>();

  async function make(event: FormEvent) {
    event.preventDefault();
    setFailure(undefined);
    try {
      const { secret } = await identity.createApiKey({
        requestId: crypto.randomUUID(),
        name,
        scope: Number(scope),
        expireTime: days ? timestampFromMs(Date.now() + Number(days) * DAY_MS) : undefined,
      });
      setName("");
      made(secret);
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  return (
    <form onSubmit={(event) => void make(event)}>
      <Group align="end">
        <TextInput
          label="What the key is for"
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          error={failure?.fields.name ?? (failure && !placed(failure) && failure.sentence)}
          maxLength={100}
          required
          flex={1}
        />
        <Select
          label="It may"
          data={SCOPES}
          value={scope}
          onChange={(value) => setScope(value ?? scope)}
          error={failure?.fields.scope}
          allowDeselect={false}
          w={150}
        />
        <Select
          label="Good for"
          data={LIVES}
          value={days}
          onChange={(value) => setDays(value ?? "")}
          error={failure?.fields.expire_time}
          allowDeselect={false}
          w={160}
        />
        <Button type="submit">Make a key</Button>
      </Group>
    </form>
  );
}

const placed = ({ fields }: Failure) => FIELDS.some((name) => fields[name] !== undefined);

function Secret({ secret }: { secret: string }) {
  return (
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
  );
}
