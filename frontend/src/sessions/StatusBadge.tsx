import { Badge } from "@mantine/core";
import { SessionStatus } from "../generated/algotrade/v1/forward_test_service_pb";
import { FeedState } from "../generated/algotrade/v1/types_pb";

const COLORS: Readonly<Record<SessionStatus, string>> = {
  [SessionStatus.UNSPECIFIED]: "gray",
  [SessionStatus.CREATED]: "gray",
  [SessionStatus.RUNNING]: "teal",
  [SessionStatus.STOPPING]: "orange",
  [SessionStatus.STOPPED]: "gray",
  [SessionStatus.HALTED]: "red",
  [SessionStatus.PAUSED]: "yellow",
};

export function StatusBadge({ status }: { status: SessionStatus }) {
  return (
    <Badge variant="light" color={COLORS[status]}>
      {SessionStatus[status]?.toLowerCase()}
    </Badge>
  );
}

const FEED_COLORS: Readonly<Record<FeedState, string>> = {
  [FeedState.UNSPECIFIED]: "gray",
  [FeedState.LIVE]: "teal",
  [FeedState.GAP]: "red",
  [FeedState.STALE]: "yellow",
  [FeedState.CLOSED]: "gray",
};

const FEED_MEANING: Readonly<Record<FeedState, string>> = {
  [FeedState.UNSPECIFIED]: "Nothing was said of the feed yet.",
  [FeedState.LIVE]: "Ticks arrive in order and in time.",
  [FeedState.GAP]: "Ticks are missing; entries are held back until they are filled in.",
  [FeedState.STALE]: "No tick came for too long; entries are held back.",
  [FeedState.CLOSED]: "The exchange is closed; entries are held back until it opens.",
};

export function FeedBadge({ state }: { state: FeedState }) {
  return (
    <Badge variant="outline" color={FEED_COLORS[state]} title={FEED_MEANING[state]}>
      feed {FeedState[state]?.toLowerCase()}
    </Badge>
  );
}
