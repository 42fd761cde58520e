import { Button, Group, Paper, PasswordInput, Text, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { identity } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { queries } from "../api/queries";
import { forgetTokens } from "../api/tokens";
import { confirmed } from "../shell/confirm";

const WHAT_GOES =
  "Sessions that run are stopped. Your strategies, backtests, sessions with their trades, notifications and keys are " +
  "deleted, and nobody can bring them back.";

export function DeleteAccount() {
  const [currentPassword, setPassword] = useState("");
  const [failure, setFailure] = useState<Failure>();

  async function remove(event: FormEvent) {
    event.preventDefault();
    setFailure(undefined);
    if (!(await confirmed("Delete the account?", WHAT_GOES, "Delete everything"))) return;
    try {
      await identity.deleteMe({ currentPassword });
      forgetTokens();
      queries.clear();
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  return (
    <Paper withBorder p="md" component="form" onSubmit={(event: FormEvent) => void remove(event)}>
      <Title order={2} size="h4" mb="xs">
        Delete the account
      </Title>
      <Text size="sm" c="dimmed" mb="xs">
        {WHAT_GOES}
      </Text>
      <Group align="end">
        <PasswordInput
          label="Password of the account to delete"
          autoComplete="current-password"
          value={currentPassword}
          onChange={(event) => setPassword(event.currentTarget.value)}
          error={failure && (failure.fields.current_password ?? failure.sentence)}
          required
          flex={1}
        />
        <Button type="submit" color="red.8">
          Delete my account …
        </Button>
      </Group>
    </Paper>
  );
}
