// The bell: how many notifications were not read, what they say, and a toast for what comes.

import { ActionIcon, Badge, Button, Card, Drawer, Group, Indicator, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { notices } from "../api/clients";
import { moment } from "../api/format";
import { queries } from "../api/queries";
import { tellFailure } from "../api/tell";
import { type Notification, NotificationSeverity } from "../generated/algotrade/v1/notification_service_pb";
import { useRealtime } from "../realtime/store";
import { usePreferences } from "../shell/preferences";

const PAGE = 50;
const COLORS: Readonly<Record<NotificationSeverity, string>> = {
  [NotificationSeverity.UNSPECIFIED]: "gray",
  [NotificationSeverity.INFO]: "blue",
  [NotificationSeverity.WARNING]: "yellow",
  [NotificationSeverity.CRITICAL]: "red",
};

export function Bell() {
  const [opened, setOpened] = useState(false);
  const unread = useRealtime((state) => state.unread);
  useToasts();
  return (
    <>
      <Indicator label={unread > 99 ? "99+" : unread} size={16} disabled={unread === 0} color="red.8">
        <ActionIcon variant="default" aria-label={`Notifications, ${unread} not read`} onClick={() => setOpened(true)}>
          ✉
        </ActionIcon>
      </Indicator>
      <Drawer opened={opened} onClose={() => setOpened(false)} position="right" title="Notifications">
        {opened && <Inbox close={() => setOpened(false)} />}
      </Drawer>
    </>
  );
}

/** What matters is shown as it comes; the rest waits in the inbox. */
function useToasts(): void {
  useEffect(
    () =>
      useRealtime.subscribe((now, before) => {
        const known = before.notices[0]?.sequence ?? 0n;
        for (const notice of now.notices) {
          if (notice.sequence <= known) return;
          if (notice.severity < NotificationSeverity.WARNING) continue;
          notifications.show({ color: COLORS[notice.severity], title: notice.title, message: notice.body });
        }
      }),
    [],
  );
}

function Inbox({ close }: { close(): void }) {
  const { data, hasNextPage, fetchNextPage } = useInfiniteQuery({
    queryKey: ["notices"],
    queryFn: ({ pageParam }) => notices.listNotifications({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: 0,
  });
  const all = data?.pages.flatMap((page) => page.notifications) ?? [];
  const newest = data?.pages[0]?.lastSequence;

  async function markRead() {
    try {
      const { unreadCount } = await notices.markRead({ upToSequence: newest });
      useRealtime.setState({ unread: unreadCount });
      await queries.invalidateQueries({ queryKey: ["notices"] });
    } catch (error) {
      tellFailure("Not marked", error);
    }
  }

  return (
    <Stack gap="xs">
      <Group justify="space-between">
        <Link href="/forwarding" onClick={close}>
          Forward them …
        </Link>
        <Button size="xs" variant="default" disabled={!newest} onClick={() => void markRead()}>
          Mark all as read
        </Button>
      </Group>
      {all.length === 0 && <Text c="dimmed">Nothing yet. Fills, rejections and halts of sessions come here.</Text>}
      {all.map((notice) => (
        <Entry key={notice.notificationId} notice={notice} />
      ))}
      {hasNextPage && (
        <Button variant="subtle" onClick={() => void fetchNextPage()}>
          Older
        </Button>
      )}
    </Stack>
  );
}

function Entry({ notice }: { notice: Notification }) {
  const zone = usePreferences((state) => state.zone);
  return (
    <Card withBorder p="xs">
      <Group gap="xs">
        <Badge size="xs" color={COLORS[notice.severity]} variant={notice.readTime ? "outline" : "filled"}>
          {NotificationSeverity[notice.severity]?.toLowerCase()}
        </Badge>
        <Text size="sm" fw={notice.readTime ? 400 : 700}>
          {notice.sessionId ? <Link href={`/sessions/${notice.sessionId}`}>{notice.title}</Link> : notice.title}
          {notice.count > 1n && ` × ${notice.count}`}
        </Text>
      </Group>
      <Text size="xs">{notice.body}</Text>
      <Text size="xs" c="dimmed">
        {moment(notice.eventTime ?? notice.createTime, zone)}
      </Text>
    </Card>
  );
}
