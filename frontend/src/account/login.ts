import { identity } from "../api/clients";
import { queries } from "../api/queries";
import { forgetTokens, keepTokens, refreshToken, useLogin } from "../api/tokens";
import { publicIdentity, renew } from "../api/transport";

export async function register(email: string, password: string): Promise<void> {
  const { user, token, refreshToken: refresh } = await publicIdentity.register({ email, password });
  keepTokens(token, refresh);
  useLogin.setState({ user, settled: true });
}

export async function login(email: string, password: string): Promise<void> {
  const { user, token, refreshToken: refresh } = await publicIdentity.login({ email, password });
  keepTokens(token, refresh);
  useLogin.setState({ user, settled: true });
}

/** Goes on with the login that a reload of the page interrupted, if there was one. */
export async function resume(): Promise<void> {
  try {
    if (refreshToken()) {
      await renew();
      useLogin.setState({ user: (await identity.getMe({})).user });
    }
  } finally {
    useLogin.setState({ settled: true });
  }
}

export const logout = () => end(false);
export const endEverywhere = () => end(true);

async function end(allDevices: boolean): Promise<void> {
  try {
    await identity.logout({ allDevices });
  } finally {
    forgetTokens();
    queries.clear();
  }
}
