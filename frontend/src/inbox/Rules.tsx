import { useQuery } from "@connectrpc/connect-query";
import {
  Button,
  Group,
  MultiSelect,
  NumberInput,
  Paper,
  Select,
  SimpleGrid,
  Switch,
  Table,
  Text,
  Title,
} from "@mantine/core";
import { type FormEvent, useState } from "react";
import { notices } from "../api/clients";
import { words } from "../api/format";
import { tellFailure } from "../api/tell";
import { ForwardTestService } from "../generated/algotrade/v1/forward_test_service_pb";
import {
  type Channel,
  NotificationKind,
  NotificationService,
  NotificationSeverity,
  type Rule,
} from "../generated/algotrade/v1/notification_service_pb";
import { StrategyService } from "../generated/algotrade/v1/strategy_service_pb";
import { readAnew } from "./ForwardingPage";

const MOST_THROTTLE = 86_400;
const KINDS = choices(NotificationKind);
const SEVERITIES = choices(NotificationSeverity);

/** The values of an enumeration but the first, by their names. */
function choices(names: Readonly<Record<number, string>>): { value: string; label: string }[] {
  return Object.entries(names)
    .filter(([value]) => Number(value) > 0)
    .map(([value, name]) => ({ value, label: words(name.toLowerCase()) }));
}

/** Sessions and strategies by their ids, to choose from and to show. */
function useNames() {
  const sessions = useQuery(ForwardTestService.method.listSessions, { pageSize: 500 });
  const strategies = useQuery(StrategyService.method.listStrategies, { pageSize: 200 });
  return {
    sessions: sessions.data?.sessions.map(({ sessionId, name }) => ({ value: sessionId, label: name })) ?? [],
    strategies: strategies.data?.strategies.map(({ strategyId, name }) => ({ value: strategyId, label: name })) ?? [],
  };
}

export function Rules({ channels }: { channels: readonly Channel[] }) {
  const { data } = useQuery(NotificationService.method.listRules, { pageSize: 100 });
  const names = useNames();
  const rules = data?.rules ?? [];
  return (
    <Paper withBorder p="md" component="section" aria-label="Rules">
      <Title order={2} size="h4" mb="xs">
        Rules
      </Title>
      {channels.length === 0 ? (
        <Text c="dimmed">A rule needs a channel to send to.</Text>
      ) : (
        <NewRule channels={channels} names={names} />
      )}
      <Table mt="sm" fz="sm">
        <Table.Tbody>
          {rules.map((rule) => (
            <RuleRow key={rule.ruleId} rule={rule} channels={channels} names={names} />
          ))}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}

type Names = ReturnType<typeof useNames>;

function NewRule({ channels, names }: { channels: readonly Channel[]; names: Names }) {
  const [channelId, setChannelId] = useState<string | null>(null);
  const [kinds, setKinds] = useState<string[]>([]);
  const [sessionIds, setSessionIds] = useState<string[]>([]);
  const [strategyIds, setStrategyIds] = useState<string[]>([]);
  const [severity, setSeverity] = useState<string | null>(null);
  const [throttle, setThrottle] = useState(0);
  const [digest, setDigest] = useState(0);

  async function make(event: FormEvent) {
    event.preventDefault();
    try {
      await notices.createRule({
        requestId: crypto.randomUUID(),
        channelId: channelId ?? "",
        choice: {
          kinds: kinds.map(Number),
          sessionIds,
          strategyIds,
          minSeverity: Number(severity ?? NotificationSeverity.UNSPECIFIED),
          throttleSeconds: throttle,
          digestSeconds: digest,
        },
      });
      await readAnew();
    } catch (error) {
      tellFailure("No rule was made", error);
    }
  }

  return (
    <form onSubmit={(event) => void make(event)}>
      <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="sm">
        <Select
          label="Send to"
          data={channels.map((channel) => ({ value: channel.channelId, label: channel.name }))}
          value={channelId}
          onChange={setChannelId}
          required
        />
        <Chosen label="Kinds" data={KINDS} value={kinds} change={setKinds} />
        <Select
          label="At least"
          placeholder="any severity"
          data={SEVERITIES}
          value={severity}
          onChange={setSeverity}
          clearable
          clearButtonProps={{ "aria-label": "Any severity" }}
        />
        <Chosen label="Sessions" data={names.sessions} value={sessionIds} change={setSessionIds} />
        <Chosen label="Strategies" data={names.strategies} value={strategyIds} change={setStrategyIds} />
        <NumberInput
          label="Seconds between messages"
          min={0}
          max={MOST_THROTTLE}
          value={throttle}
          onChange={(value) => setThrottle(Number(value) || 0)}
          disabled={digest > 0}
        />
        <NumberInput
          label="Or gather for so many seconds"
          min={0}
          max={MOST_THROTTLE}
          value={digest}
          onChange={(value) => setDigest(Number(value) || 0)}
          disabled={throttle > 0}
        />
      </SimpleGrid>
      <Button type="submit" mt="sm" disabled={!channelId}>
        Make the rule
      </Button>
    </form>
  );
}

interface ChosenProps {
  label: string;
  data: { value: string; label: string }[];
  value: string[];
  change(value: string[]): void;
}

function Chosen({ label, data, value, change }: ChosenProps) {
  return (
    <MultiSelect
      label={label}
      placeholder={value.length === 0 ? "all" : undefined}
      data={data}
      value={value}
      onChange={change}
      searchable
      clearable
      clearButtonProps={{ "aria-label": `All ${label.toLowerCase()}` }}
    />
  );
}

function RuleRow({ rule, channels, names }: { rule: Rule; channels: readonly Channel[]; names: Names }) {
  const { ruleId, channelId, disabled, heldBack } = rule;
  const channel = channels.find((one) => one.channelId === channelId)?.name ?? "";

  async function change(work: () => Promise<unknown>) {
    await work().catch((error) => tellFailure("Not changed", error));
    await readAnew();
  }

  return (
    <Table.Tr>
      <Table.Td>
        {sentenceOf(rule, names)} → <strong>{channel}</strong>
        {heldBack > 0n && ` (${heldBack} held back)`}
      </Table.Td>
      <Table.Td>
        <Group gap="xs" justify="flex-end" wrap="nowrap">
          <Switch
            aria-label={`Send to ${channel}`}
            checked={!disabled}
            onChange={(event) => {
              const off = !event.currentTarget.checked;
              void change(() => notices.updateRule({ ruleId, updateMask: { paths: ["disabled"] }, disabled: off }));
            }}
          />
          <Button
            size="compact-xs"
            variant="subtle"
            color="red"
            onClick={() => void change(() => notices.deleteRule({ ruleId }))}
          >
            Delete
          </Button>
        </Group>
      </Table.Td>
    </Table.Tr>
  );
}

/** What a rule chooses, in words. */
function sentenceOf({ choice }: Rule, { sessions, strategies }: Names): string {
  const kinds = choice?.kinds.map((kind) => words(NotificationKind[kind]?.toLowerCase() ?? "")).join(", ");
  const named = (ids: readonly string[], all: Names["sessions"]) =>
    ids.map((id) => all.find((one) => one.value === id)?.label ?? "one that is gone").join(", ");
  const severity = choice?.minSeverity ? NotificationSeverity[choice.minSeverity]?.toLowerCase() : "";
  return [
    kinds || "everything",
    choice && choice.sessionIds.length > 0 && `of ${named(choice.sessionIds, sessions)}`,
    choice && choice.strategyIds.length > 0 && `of ${named(choice.strategyIds, strategies)}`,
    severity && `from ${severity} on`,
    choice && choice.throttleSeconds > 0 && `at most every ${choice.throttleSeconds} s`,
    choice && choice.digestSeconds > 0 && `gathered for ${choice.digestSeconds} s`,
  ]
    .filter(Boolean)
    .join(", ");
}
