import { Alert } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { sessions } from "../api/clients";
import { failureOf } from "../api/errors";
import { exact, moment, money, signed, type Zone } from "../api/format";
import { type Session, SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import { type Compared, CompareTable, type Figure, pairs } from "../runs/CompareTable";
import { usePreferences } from "../shell/preferences";
import { profit } from "./SessionsPage";

const AGAIN_MS = 10_000;

export function CompareSessionsPage({ ids }: { ids: readonly string[] }) {
  const zone = usePreferences((state) => state.zone);
  const { data, error } = useQuery({
    queryKey: ["session", "compared", ...ids],
    queryFn: () => Promise.all(ids.map(read)),
    refetchInterval: AGAIN_MS,
  });
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  return data && <CompareTable runs={data.flatMap((found) => (found ? compared(found, zone) : []))} />;
}

interface Found {
  session: Session;
  metrics: readonly Figure[];
}

async function read(sessionId: string): Promise<Found | undefined> {
  const { session } = await sessions.getSession({ sessionId });
  if (!session) return undefined;
  if (session.status === SessionStatus.CREATED) return { session, metrics: [] };
  return { session, metrics: (await sessions.getMetrics({ sessionId })).metrics };
}

function compared({ session, metrics }: Found, zone: Zone): Compared {
  return {
    name: session.name,
    path: `/sessions/${session.sessionId}`,
    facts: {
      state: SessionStatus[session.status]?.toLowerCase() ?? "",
      symbol: session.symbol,
      "strategy version": String(session.strategyVersion),
      parameters: pairs(session.parameters),
      "bars of": session.settings?.interval ?? "",
      begun: moment(session.startTime ?? session.createTime, zone),
      equity: money(session.equity),
      profit: signed(String(profit(session))),
      position: Number(session.quantity) === 0 ? "flat" : exact(session.quantity),
    },
    figures: metrics,
  };
}
