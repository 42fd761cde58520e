// For administrators: who has an account, and what everybody did.

import { Stack, Tabs, Text, Title } from "@mantine/core";
import { useLogin } from "../api/tokens";
import { AuditTable } from "./AuditTable";
import { UsersTable } from "./UsersTable";

export function AdminPage() {
  const admin = useLogin((state) => state.admin);
  return (
    <Stack component="main" p="lg">
      <Title order={1} size="h2">
        Administration
      </Title>
      {admin ? (
        <Tabs defaultValue="users" keepMounted={false}>
          <Tabs.List>
            <Tabs.Tab value="users">Users</Tabs.Tab>
            <Tabs.Tab value="audit">Audit log</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="users" pt="sm">
            <UsersTable />
          </Tabs.Panel>
          <Tabs.Panel value="audit" pt="sm">
            <AuditTable />
          </Tabs.Panel>
        </Tabs>
      ) : (
        <Text>Only an administrator may look here.</Text>
      )}
    </Stack>
  );
}
