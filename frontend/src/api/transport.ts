// gRPC-Web on the page's own origin, every call with an access token that is good.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { IdentityService } from "../generated/algotrade/v1/identity_service_pb";
import { singleFlight } from "./flight";
import { inTurn, tellSiblings } from "./siblings";
import { accessToken, forgetTokens, keepTokens, refreshToken, rejectToken } from "./tokens";

const UNARY_MS = 30_000;
const baseUrl = window.location.origin;
const publicTransport = createGrpcWebTransport({ baseUrl, defaultTimeoutMs: UNARY_MS });

/** Register, Login and RefreshToken need no token. */
export const publicIdentity = createClient(IdentityService, publicTransport);

/** Gets new tokens: those of a tab of the same login, else for the refresh token. Refused, the login has ended. */
export const renew = singleFlight(() =>
  inTurn(async () => {
    if (accessToken(Date.now())) return;
    const held = refreshToken();
    if (!held) throw new ConnectError("not logged in", Code.Unauthenticated);
    try {
      const { token, refreshToken: next } = await publicIdentity.refreshToken({ refreshToken: held });
      keepTokens(token, next);
      tellSiblings();
    } catch (error) {
      if (ConnectError.from(error).code === Code.Unauthenticated) forgetTokens();
      throw error;
    }
  }),
);

async function goodToken(): Promise<string> {
  if (!accessToken(Date.now())) await renew();
  return accessToken(Date.now()) ?? "";
}

const authorized: Interceptor = (next) => async (request) => {
  const token = await goodToken();
  request.header.set("authorization", `Bearer ${token}`);
  try {
    return await next(request);
  } catch (error) {
    // Once more with a new token: this one may have been revoked. A stream begins anew by itself.
    if (request.stream || ConnectError.from(error).code !== Code.Unauthenticated) throw error;
    rejectToken(token);
    request.header.set("authorization", `Bearer ${await goodToken()}`);
    return await next(request);
  }
};

export const transport = createGrpcWebTransport({
  baseUrl,
  defaultTimeoutMs: UNARY_MS,
  interceptors: [authorized],
});
