import { Alert, Anchor, Button, Card, Center, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { type Failure, failureOf } from "../api/errors";
import { login, register } from "./login";

const MIN_PASSWORD = 12;

export function LoginPage() {
  const [fresh, setFresh] = useState(false);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setFailure(undefined);
    try {
      await (fresh ? register : login)(email, password);
    } catch (error) {
      setFailure(failureOf(error));
      setBusy(false);
    }
  }

  return (
    <Center mih="100vh" p="md" component="main">
      <Card w={420} withBorder p="xl">
        <form onSubmit={submit}>
          <Stack>
            <div>
              <Title order={1} size="h2">
                AlgoTrade
              </Title>
              <Text c="dimmed">Draw a strategy, test it, trade it on paper.</Text>
            </div>
            <TextInput
              label="E-mail address"
              type="email"
              autoComplete="username"
              value={email}
              onChange={(event) => setEmail(event.currentTarget.value)}
              error={failure?.fields.email}
              required
            />
            <PasswordInput
              label="Password"
              description={fresh ? `At least ${MIN_PASSWORD} characters of any kind` : undefined}
              autoComplete={fresh ? "new-password" : "current-password"}
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
              error={failure?.fields.password}
              minLength={fresh ? MIN_PASSWORD : 1}
              required
            />
            {failure && Object.keys(failure.fields).length === 0 && (
              <Alert color="red" role="alert">
                {failure.sentence}
              </Alert>
            )}
            <Button type="submit" loading={busy}>
              {fresh ? "Create account" : "Log in"}
            </Button>
            <Text size="sm">
              {fresh ? "You have an account? " : "New here? "}
              <Anchor component="button" type="button" underline="always" onClick={() => setFresh(!fresh)}>
                {fresh ? "Log in" : "Create an account"}
              </Anchor>
            </Text>
            <Text size="xs" c="dimmed">
              Paper trading with simulated money. Not advice.
            </Text>
          </Stack>
        </form>
      </Card>
    </Center>
  );
}
