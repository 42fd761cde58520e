import { Alert, Button, Center, Group, Loader, Paper, SimpleGrid, Stack, Tabs, Text, Title } from "@mantine/core";
import { useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { failureOf } from "../api/errors";
import { exact, money, signed, tone } from "../api/format";
import { MetricsTable } from "../backtest/MetricsTable";
import { marksOf, type ShownTrade, spanOf } from "../backtest/shownTrade";
import { TradesTable } from "../backtest/TradesTable";
import { drawdown } from "../charts/curve";
import { PriceChart } from "../charts/PriceChart";
import { type Session, SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import { useSymbols } from "../realtime/Realtime";
import { useRealtime } from "../realtime/store";
import { SettingsShown } from "../runs/SettingsShown";
import { fedBy } from "../runs/source";
import { usePreferences } from "../shell/preferences";
import * as commands from "./commands";
import { EventLog } from "./EventLog";
import { ParityBadge } from "./ParityBadge";
import { isOver } from "./renewed";
import { profit } from "./SessionsPage";
import { FeedBadge, StatusBadge } from "./StatusBadge";
import { useEvents, useSession, useSessionDrawn } from "./useSession";

export function SessionPage({ sessionId }: { sessionId: string }) {
  const { session, error } = useSession(sessionId);
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  if (!session) {
    return (
      <Center h="60vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  return <Shown session={session} />;
}

function Shown({ session }: { session: Session }) {
  useSymbols([session.symbol]);
  const feed = useRealtime((state) => state.symbols[session.symbol]?.feedState) ?? session.feedState;
  const zone = usePreferences((state) => state.zone);
  const { data: drawn } = useSessionDrawn(session);
  const events = useEvents(session.sessionId, session.lastSequence);
  const [chosen, setChosen] = useState<ShownTrade>();
  const trades = drawn?.trades ?? [];
  const marks = useMemo(() => marksOf(drawn?.trades ?? [], chosen?.number), [drawn, chosen]);
  const fall = useMemo(
    () => fallOf(drawn?.equity ?? [], Number(session.settings?.initialCash)),
    [drawn, session.settings],
  );
  const focus = useMemo(() => chosen && spanOf(chosen), [chosen]);
  return (
    <Stack component="main" p="md" gap="sm">
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">
            {session.name}
          </Title>
          <StatusBadge status={session.status} />
          <FeedBadge state={feed} />
          <ParityBadge session={session} />
        </Group>
        <Buttons session={session} />
      </Group>
      {session.haltReason && <Alert color="red">It halted by itself: {session.haltReason}.</Alert>}
      <Group gap="xs">
        <Link href={`/strategies/${session.strategyId}`}>strategy, version {session.strategyVersion}</Link>
        <SettingsShown settings={session.settings} parameters={session.parameters} source={fedBy(session.source)} />
      </Group>
      <Figures session={session} />
      <Paper withBorder p="xs">
        <PriceChart
          label={`Candles of ${session.symbol} with fills; below them equity and drawdown`}
          candles={drawn?.candles ?? []}
          equity={drawn?.equity ?? []}
          drawdown={fall}
          marks={marks}
          zone={zone}
          focus={focus}
        />
      </Paper>
      <Tabs defaultValue="events" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="events">Events</Tabs.Tab>
          <Tabs.Tab value="trades">Trades ({trades.length})</Tabs.Tab>
          <Tabs.Tab value="metrics">Figures</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="events" pt="sm">
          <EventLog events={events} />
        </Tabs.Panel>
        <Tabs.Panel value="trades" pt="sm">
          <TradesTable trades={trades} chosen={chosen?.number} choose={setChosen} />
        </Tabs.Panel>
        <Tabs.Panel value="metrics" pt="sm">
          <MetricsTable metrics={drawn?.metrics ?? []} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function fallOf(equity: readonly { ms: number; value: number }[], first: number) {
  const falls = drawdown(
    equity.map(({ value }) => value),
    first,
  );
  return equity.map(({ ms }, index) => ({ ms, value: falls[index] ?? 0 }));
}

function Figures({ session }: { session: Session }) {
  const gained = String(profit(session));
  const held = Number(session.quantity);
  const mark = useRealtime((state) => state.values[session.sessionId]?.mark);
  const open = mark?.unrealizedPnl ?? String((Number(session.lastPrice) - Number(session.averagePrice)) * held);
  const average = session.averagePrice && `at ${exact(session.averagePrice)}`;
  const figures: readonly [string, string, string?][] = [
    ["equity", money(session.equity)],
    ["profit", signed(gained), tone(gained)],
    ["realised", signed(session.realizedPnl), tone(session.realizedPnl)],
    ["open", held === 0 ? "–" : signed(open), tone(open)],
    ["position", held === 0 ? "flat" : `${exact(session.quantity)} ${average}`],
    ["last price", exact(session.lastPrice)],
    ["trades", `${session.totalTrades}, ${session.winningTrades} won`],
    ["bars", `${session.bars}${session.bars < session.warmupBars ? ` of ${session.warmupBars} to warm up` : ""}`],
  ];
  return (
    <SimpleGrid cols={{ base: 2, sm: 4, lg: 8 }} spacing="xs">
      {figures.map(([name, value, color]) => (
        <div key={name} className="figure">
          <span>{name}</span>
          <Text component="strong" fw={700} c={color} data-testid={name}>
            {value}
          </Text>
        </div>
      ))}
    </SimpleGrid>
  );
}

function Buttons({ session }: { session: Session }) {
  const { status } = session;
  const [, go] = useLocation();
  const active = status === SessionStatus.RUNNING || status === SessionStatus.PAUSED;
  return (
    <Group gap="xs">
      {status === SessionStatus.CREATED && (
        <Button size="xs" onClick={() => void commands.start(session)}>
          Start
        </Button>
      )}
      {status === SessionStatus.RUNNING && (
        <Button size="xs" variant="default" onClick={() => void commands.pause(session)}>
          Pause
        </Button>
      )}
      {status === SessionStatus.PAUSED && (
        <Button size="xs" onClick={() => void commands.resume(session)}>
          Resume
        </Button>
      )}
      {active && (
        <>
          <Button size="xs" variant="default" onClick={() => void commands.flatten(session)}>
            Flatten …
          </Button>
          <Button size="xs" color="red.8" onClick={() => void commands.stop(session)}>
            Stop …
          </Button>
        </>
      )}
      {(isOver(status) || status === SessionStatus.CREATED) && (
        <Button
          size="xs"
          variant="subtle"
          color="red"
          onClick={async () => {
            if (await commands.remove(session)) go("/sessions");
          }}
        >
          Delete …
        </Button>
      )}
    </Group>
  );
}
