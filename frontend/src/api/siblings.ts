// Tabs made by duplicating one hold the same refresh token, which is good for one use. They renew it one at a time, and
// hand each other what came of it, in memory alone.

import { heldTokens, loginId, takeTokens } from "./tokens";

const PATIENCE_MS = 2000; // a tab that does not answer for so long is frozen, and has renewed nothing meanwhile

type Message = { kind: "asked"; login: string } | ({ kind: "held"; login: string } & ReturnType<typeof heldTokens>);

const channel = new BroadcastChannel("algotrade.logins");
let heard: (() => void) | undefined;
let present: { login: string; granted: Promise<void> } | undefined;

channel.onmessage = ({ data }: MessageEvent<Message>) => {
  if (data.login !== loginId()) return;
  if (data.kind === "asked") tellSiblings();
  else {
    takeTokens(data);
    heard?.();
  }
};

/** Hands this tab's tokens to those that hold the same login. */
export function tellSiblings(): void {
  const login = loginId();
  const held = heldTokens();
  if (login && held.refresh) channel.postMessage({ kind: "held", login, ...held } satisfies Message);
}

/** Shows, by a lock that many may hold, that there is a tab of this login. */
function showPresence(login: string): Promise<void> {
  if (present?.login !== login) {
    const granted = new Promise<void>((done) => {
      const forever = () => {
        done();
        return new Promise(() => undefined); // the browser lets go of it when the tab is gone
      };
      void navigator.locks.request(login, { mode: "shared" }, forever);
    });
    present = { login, granted };
  }
  return present.granted;
}

/** Does `work` while no other tab of the same login does, and after their newest tokens were taken over. */
export async function inTurn(work: () => Promise<void>): Promise<void> {
  const login = loginId();
  if (!login) return work();
  await showPresence(login);
  await navigator.locks.request(`${login} renewal`, async () => {
    const { held = [] } = await navigator.locks.query();
    if (held.filter(({ name }) => name === login).length > 1) {
      await new Promise<void>((done) => {
        const timer = setTimeout(done, PATIENCE_MS);
        heard = () => {
          clearTimeout(timer);
          done();
        };
        channel.postMessage({ kind: "asked", login } satisfies Message);
      });
    }
    await work();
  });
}
