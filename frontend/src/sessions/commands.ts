import { sessions } from "../api/clients";
import { queries } from "../api/queries";
import { tell, tellFailure } from "../api/tell";
import { type Session, StopMode } from "../generated/algotrade/v1/forward_test_service_pb";
import { confirmed } from "../shell/confirm";

/** Does something to a session, says what came of it, and has what is shown read anew. */
async function command(done: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    tell(done);
    return true;
  } catch (error) {
    tellFailure("Not done", error);
    return false;
  } finally {
    await queries.invalidateQueries({ queryKey: ["session"] });
  }
}

const requestId = () => crypto.randomUUID();

export const start = ({ sessionId, name }: Session) =>
  command(`${name} has started`, () => sessions.startSession({ sessionId, requestId: requestId() }));

export const pause = ({ sessionId, name }: Session) =>
  command(`${name} enters no position until it is resumed`, () =>
    sessions.pauseSession({ sessionId, requestId: requestId() }),
  );

export const resume = ({ sessionId, name }: Session) =>
  command(`${name} trades on`, () => sessions.resumeSession({ sessionId, requestId: requestId() }));

export async function flatten({ sessionId, name }: Session): Promise<void> {
  const sure = await confirmed(
    `Flatten ${name}?`,
    "It sells its position at the next price, and trades on.",
    "Flatten",
  );
  if (sure)
    await command(`${name} sells its position`, () => sessions.flattenSession({ sessionId, requestId: requestId() }));
}

export async function stop({ sessionId, name }: Session): Promise<void> {
  const sure = await confirmed(`Stop ${name}?`, "It sells its position at the next price, and ends for good.", "Stop");
  if (sure) await command(`${name} stops`, () => sessions.stopSession({ sessionId, mode: StopMode.FLATTEN }));
}

export async function remove({ sessionId, name }: Session): Promise<boolean> {
  const sure = await confirmed(`Delete ${name}?`, "Its events and trades go with it, for ever.", "Delete");
  return sure && command(`${name} is deleted`, () => sessions.deleteSession({ sessionId, requestId: requestId() }));
}
