import { ActionIcon, AppShell, Badge, Group, Menu, NavLink, SegmentedControl, Text, Tooltip } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { type ReactNode, useState } from "react";
import { Link, useLocation } from "wouter";
import { logout } from "../account/login";
import { useLogin } from "../api/tokens";
import { Bell } from "../inbox/Inbox";
import { Confirmation } from "./confirm";
import { Help } from "./Help";
import { OfflineBanner } from "./OfflineBanner";
import { usePreferences } from "./preferences";

const PAGES = [
  { path: "/strategies", label: "Strategies", icon: "◈" },
  { path: "/backtests", label: "Backtests", icon: "⟲" },
  { path: "/sessions", label: "Sessions", icon: "▶" },
];

export function Shell({ children }: { children: ReactNode }) {
  const [path, go] = useLocation();
  const { user, admin } = useLogin();
  const initial = user?.email.charAt(0).toUpperCase();
  const { zone, setZone } = usePreferences();
  const [help, setHelp] = useState(false);
  useHotkeys([["shift+?", () => setHelp(true)]]);
  return (
    <AppShell header={{ height: 48 }} navbar={{ width: 150, breakpoint: 0 }}>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Text fw={700}>AlgoTrade</Text>
            <Badge variant="outline" color="gray">
              paper trading, not advice
            </Badge>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <SegmentedControl
              size="xs"
              aria-label="Time zone"
              value={zone}
              onChange={(value) => setZone(value as typeof zone)}
              data={[
                { value: "UTC", label: "UTC" },
                { value: "local", label: "Local" },
              ]}
            />
            <Bell />
            <Tooltip label="Keyboard (?)">
              <ActionIcon variant="default" aria-label="Keyboard" onClick={() => setHelp(true)}>
                ?
              </ActionIcon>
            </Tooltip>
            <Menu>
              <Menu.Target>
                <ActionIcon variant="default" aria-label={`Account ${initial}: ${user?.email}`}>
                  {initial}
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>{user?.email}</Menu.Label>
                <Menu.Item onClick={() => go("/account")}>Account …</Menu.Item>
                <Menu.Item onClick={() => go("/forwarding")}>Forwarding …</Menu.Item>
                {admin && <Menu.Item onClick={() => go("/admin")}>Administration …</Menu.Item>}
                <Menu.Item onClick={() => void logout()}>Log out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar aria-label="Pages">
        {PAGES.map((page) => (
          <NavLink
            key={page.path}
            component={Link}
            href={page.path}
            label={page.label}
            leftSection={page.icon}
            active={path.startsWith(page.path)}
          />
        ))}
      </AppShell.Navbar>
      <AppShell.Main>
        <OfflineBanner />
        {children}
      </AppShell.Main>
      <Confirmation />
      <Help opened={help} close={() => setHelp(false)} />
    </AppShell>
  );
}
