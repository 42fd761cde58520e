import { Badge, Button } from "@mantine/core";
import { useState } from "react";
import { sessions } from "../api/clients";
import { tellFailure } from "../api/tell";
import {
  type ParityCertificate,
  ParityVerdict,
  type Session,
  SessionStatus,
} from "../generated/algotrade/v1/forward_test_service_pb";

const COLORS: Readonly<Record<ParityVerdict, string>> = {
  [ParityVerdict.UNSPECIFIED]: "gray",
  [ParityVerdict.IDENTICAL]: "teal",
  [ParityVerdict.DIVERGED]: "red",
  [ParityVerdict.INCOMPLETE]: "yellow",
};

/** Has the session's past replayed from the ticks it saw, and says whether all that is stored comes of it again. */
export function ParityBadge({ session }: { session: Session }) {
  const [certificate, setCertificate] = useState<ParityCertificate>();
  const [busy, setBusy] = useState(false);
  if (session.status === SessionStatus.CREATED) return null;

  async function verify() {
    setBusy(true);
    try {
      setCertificate((await sessions.verifyParity({ sessionId: session.sessionId })).certificate);
    } catch (error) {
      tellFailure("Not verified", error);
    } finally {
      setBusy(false);
    }
  }

  if (!certificate) {
    return (
      <Button size="compact-xs" variant="default" loading={busy} onClick={() => void verify()}>
        Verify parity
      </Button>
    );
  }
  const ticks = certificate.segments.reduce((sum, segment) => sum + segment.ticks, 0n);
  return (
    <Badge
      color={COLORS[certificate.verdict]}
      title={`${ticks} ticks replayed, events up to ${certificate.lastSequence} compared. Ticks ${certificate.dataHash}`}
    >
      parity {ParityVerdict[certificate.verdict]?.toLowerCase()}
    </Badge>
  );
}
