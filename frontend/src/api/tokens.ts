// Who is logged in. The access token lives in memory alone; the refresh token, good for one use, in this tab's session
// storage, so that a reload does not end the login and closing the tab does. Duplicating a tab copies it: siblings.ts.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { create } from "zustand";
import type { AccessToken, RefreshToken, User } from "../generated/algotrade/v1/identity_service_pb";

const REFRESH_KEY = "algotrade.refresh";
const LOGIN_KEY = "algotrade.login";
const EARLY_MS = 30_000; // an access token is renewed so long before it expires

interface Login {
  user?: User;
  /** Whether it is known if somebody is logged in. */
  settled: boolean;
  /** Whether the access token is an administrator's: what it may do the server decides, what is shown this does. */
  admin: boolean;
  set(login: Partial<Pick<Login, "user" | "settled">>): void;
}

export const useLogin = create<Login>()((set) => ({ settled: false, admin: false, set }));

let access: { token: string; expiresMs: number } | undefined;
let refused = "";

const msOf = (time: Timestamp | undefined) => (time ? timestampMs(time) : 0);

export function keepTokens(token: AccessToken | undefined, refresh: RefreshToken | undefined): void {
  if (token) hold(token.token, msOf(token.expireTime));
  if (!refresh) return;
  sessionStorage.setItem(REFRESH_KEY, refresh.token);
  if (!loginId()) sessionStorage.setItem(LOGIN_KEY, crypto.randomUUID());
}

function hold(token: string, expiresMs: number): void {
  access = { token, expiresMs };
  useLogin.setState({ admin: isAdmins(token) });
}

/** Reads the role of a token, a JSON Web Token, without a look at its signature. */
export function isAdmins(token: string): boolean {
  try {
    const payload = token.split(".")[1] ?? "";
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))).role === "admin";
  } catch {
    return false;
  }
}

export function forgetTokens(): void {
  access = undefined;
  sessionStorage.removeItem(REFRESH_KEY);
  sessionStorage.removeItem(LOGIN_KEY);
  useLogin.setState({ user: undefined, settled: true, admin: false });
}

export const refreshToken = () => sessionStorage.getItem(REFRESH_KEY);

/** Names the login among the tabs of this browser; a duplicated tab has the same. */
export const loginId = () => sessionStorage.getItem(LOGIN_KEY);

export const heldTokens = () => ({ refresh: refreshToken(), ...access });

/** Takes over what another tab of the same login holds, where it is newer. */
export function takeTokens({ refresh, token, expiresMs = 0 }: ReturnType<typeof heldTokens>): void {
  if (!refresh || !token || expiresMs <= (access?.expiresMs ?? 0)) return;
  sessionStorage.setItem(REFRESH_KEY, refresh);
  if (token !== refused) hold(token, expiresMs);
}

/** The access token, unless it is about to expire. */
export function accessToken(nowMs: number): string | undefined {
  return access && access.expiresMs - EARLY_MS > nowMs ? access.token : undefined;
}

/** Makes the next call fetch a new access token: the server refused this one. */
export function rejectToken(token: string): void {
  refused = token;
  if (access?.token === token) access = undefined;
}
