import { Alert, Button, Group, Paper, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { identity } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { tellSiblings } from "../api/siblings";
import { tell } from "../api/tell";
import { keepTokens, useLogin } from "../api/tokens";
import { ApiKeys } from "./ApiKeys";
import { DeleteAccount } from "./DeleteAccount";
import { Logins } from "./Logins";

export function AccountPage() {
  const user = useLogin((state) => state.user);
  return (
    <Stack component="main" p="lg" maw={800}>
      <Title order={1} size="h2">
        Account
      </Title>
      <Text>{user?.email}</Text>
      <PasswordForm />
      <Logins />
      <ApiKeys />
      <DeleteAccount />
    </Stack>
  );
}

function PasswordForm() {
  const [currentPassword, setCurrent] = useState("");
  const [newPassword, setNext] = useState("");
  const [failure, setFailure] = useState<Failure>();

  async function change(event: FormEvent) {
    event.preventDefault();
    setFailure(undefined);
    try {
      const { token } = await identity.changePassword({ currentPassword, newPassword });
      keepTokens(token, undefined);
      tellSiblings();
      setCurrent("");
      setNext("");
      tell("The password is changed", "Every other login has ended.");
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  return (
    <Paper withBorder p="md" component="form" onSubmit={(event: FormEvent) => void change(event)}>
      <Title order={2} size="h4" mb="xs">
        Password
      </Title>
      <Group align="end" grow>
        <PasswordInput
          label="Until now"
          autoComplete="current-password"
          value={currentPassword}
          onChange={(event) => setCurrent(event.currentTarget.value)}
          error={failure?.fields.current_password}
          required
        />
        <PasswordInput
          label="From now on, at least 12 characters"
          autoComplete="new-password"
          minLength={12}
          value={newPassword}
          onChange={(event) => setNext(event.currentTarget.value)}
          error={failure?.fields.new_password}
          required
        />
      </Group>
      {failure && Object.keys(failure.fields).length === 0 && (
        <Alert color="red" mt="xs" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Button type="submit" mt="sm">
        Change the password
      </Button>
    </Paper>
  );
}
