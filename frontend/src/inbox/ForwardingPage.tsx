// Where notifications go beside the inbox: addresses outside, and rules that say what is sent to which.

import { useQuery } from "@connectrpc/connect-query";
import { Badge, Button, Group, Paper, Stack, Table, Text, TextInput, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { notices } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { moment } from "../api/format";
import { queries } from "../api/queries";
import { tell, tellFailure } from "../api/tell";
import { type Channel, DeliveryState, NotificationService } from "../generated/algotrade/v1/notification_service_pb";
import { confirmed } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";
import { Rules } from "./Rules";

export function ForwardingPage() {
  const { data } = useQuery(NotificationService.method.listChannels, { pageSize: 100 });
  const channels = data?.channels ?? [];
  return (
    <Stack component="main" p="lg" maw={1000}>
      <Title order={1} size="h2">
        Forwarding
      </Title>
      <Text c="dimmed">
        Everything that sessions do is in the inbox. A rule sends what it chooses to a channel as well: chat, mail, a
        hook.
      </Text>
      <Channels channels={channels} />
      <Rules channels={channels} />
      <Deliveries channels={channels} />
    </Stack>
  );
}

/** Has channels, rules and deliveries read anew. */
export const readAnew = () => queries.invalidateQueries({ queryKey: ["connect-query"] });

function Channels({ channels }: { channels: readonly Channel[] }) {
  return (
    <Paper withBorder p="md" component="section" aria-label="Channels">
      <Title order={2} size="h4" mb="xs">
        Channels
      </Title>
      <NewChannel />
      <Table mt="sm" fz="sm">
        <Table.Tbody>
          {channels.map((channel) => (
            <Table.Tr key={channel.channelId}>
              <Table.Td fw={600}>{channel.name}</Table.Td>
              <Table.Td>{channel.service}</Table.Td>
              <Table.Td>{channel.maskedUrl}</Table.Td>
              <Table.Td>
                <Group gap="xs" justify="flex-end" wrap="nowrap">
                  <TestButton channel={channel} />
                  <Button size="compact-xs" variant="subtle" color="red" onClick={() => void remove(channel)}>
                    Delete
                  </Button>
                </Group>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}

function NewChannel() {
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [failure, setFailure] = useState<Failure>();

  async function make(event: FormEvent) {
    event.preventDefault();
    setFailure(undefined);
    try {
      await notices.createChannel({ requestId: crypto.randomUUID(), name, url });
      setName("");
      setUrl("");
      await readAnew();
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  const other = failure && Object.keys(failure.fields).length === 0 ? failure.sentence : undefined;
  return (
    <form onSubmit={(event) => void make(event)}>
      <Group align="start">
        <TextInput
          label="Name"
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          error={failure?.fields.name}
          maxLength={200}
          required
        />
        <TextInput
          label="Address, as Apprise writes it"
          placeholder="discord://… mailtos://… jsons://example.com/hook"
          value={url}
          onChange={(event) => setUrl(event.currentTarget.value)}
          error={failure?.fields.url ?? other}
          autoComplete="off"
          maxLength={2000}
          required
          flex={1}
        />
        <Button type="submit" mt={24}>
          Add the channel
        </Button>
      </Group>
      <Text size="xs" c="dimmed" mt={4}>
        It may hold a password: it is kept sealed, and shown in part from then on.
      </Text>
    </form>
  );
}

function TestButton({ channel: { channelId, name } }: { channel: Channel }) {
  const [busy, setBusy] = useState(false);

  async function test() {
    setBusy(true);
    try {
      const { delivered, failure } = await notices.testChannel({ channelId });
      if (delivered) tell(`${name} took a message`);
      else tellFailure(`${name} took no message`, new Error(failure));
    } catch (error) {
      tellFailure("Not tested", error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Button size="compact-xs" variant="default" loading={busy} onClick={() => void test()}>
      Test
    </Button>
  );
}

async function remove({ channelId, name }: Channel): Promise<void> {
  if (!(await confirmed(`Delete ${name}?`, "The rules that send to it go with it.", "Delete"))) return;
  await notices.deleteChannel({ channelId }).catch((error) => tellFailure("Not deleted", error));
  await readAnew();
}

const STATE_COLORS: Readonly<Record<DeliveryState, string>> = {
  [DeliveryState.UNSPECIFIED]: "gray",
  [DeliveryState.PENDING]: "blue",
  [DeliveryState.SENT]: "teal",
  [DeliveryState.FAILED]: "red",
  [DeliveryState.DROPPED]: "red",
};

function Deliveries({ channels }: { channels: readonly Channel[] }) {
  const { data } = useQuery(NotificationService.method.listDeliveries, { pageSize: 50 }, { refetchInterval: 5000 });
  const zone = usePreferences((state) => state.zone);
  const found = data?.deliveries ?? [];
  return (
    <Paper withBorder p="md" component="section" aria-label="Deliveries">
      <Title order={2} size="h4" mb="xs">
        Sent lately
      </Title>
      {found.length === 0 && <Text c="dimmed">Nothing yet.</Text>}
      {found.length > 0 && (
        <Table fz="xs">
          <Table.Tbody>
            {found.map(({ notificationId, ruleId, sequence, channelId, state, attempts, failure, createTime }) => (
              <Table.Tr key={`${notificationId} ${ruleId}`}>
                <Table.Td>{moment(createTime, zone)}</Table.Td>
                <Table.Td>notification {String(sequence)}</Table.Td>
                <Table.Td>
                  {channels.find((one) => one.channelId === channelId)?.name ?? "a channel that is gone"}
                </Table.Td>
                <Table.Td>
                  <Badge size="sm" variant="light" color={STATE_COLORS[state]}>
                    {DeliveryState[state]?.toLowerCase()}
                  </Badge>{" "}
                  {attempts > 1 && `${attempts} tries`}
                </Table.Td>
                <Table.Td>{failure}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Paper>
  );
}
