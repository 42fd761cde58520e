// Every save is a version: what it changed, and the way back to it.

import { useQuery } from "@connectrpc/connect-query";
import { Badge, Button, Card, Drawer, Group, List, Stack, Text } from "@mantine/core";
import { useQuery as useFetched } from "@tanstack/react-query";
import { strategies } from "../api/clients";
import { moment } from "../api/format";
import { StrategyService, type StrategyVersionSummary } from "../generated/algotrade/v1/strategy_service_pb";
import { usePreferences } from "../shell/preferences";
import { type Drawing, differences, readDrawing } from "./document";
import { useEditor } from "./store";

interface Props {
  strategyId: string;
  version: number;
  opened: boolean;
  close(): void;
}

export function HistoryDrawer({ strategyId, version, opened, close }: Props) {
  const { data } = useQuery(
    StrategyService.method.listStrategyVersions,
    { strategyId, pageSize: 100 },
    { enabled: opened },
  );
  return (
    <Drawer opened={opened} onClose={close} position="right" title="Versions" size="lg">
      <Stack>
        {data?.versions.map((one) => (
          <Version
            key={one.version}
            strategyId={strategyId}
            summary={one}
            newest={one.version === version}
            close={close}
          />
        ))}
      </Stack>
    </Drawer>
  );
}

interface VersionProps {
  strategyId: string;
  summary: StrategyVersionSummary;
  newest: boolean;
  close(): void;
}

function Version({ strategyId, summary, newest, close }: VersionProps) {
  const zone = usePreferences((state) => state.zone);
  const { data: drawing } = useFetched({
    queryKey: ["drawing", strategyId, summary.version],
    queryFn: () => drawingOf(strategyId, summary.version),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const now = useEditor();
  const changed = drawing ? differences(drawing, now) : [];
  return (
    <Card withBorder p="sm">
      <Group justify="space-between">
        <Group gap="xs">
          <Text fw={600}>Version {summary.version}</Text>
          {newest && <Badge size="sm">newest</Badge>}
          {!summary.artefactHash && (
            <Badge size="sm" color="red">
              does not compile
            </Badge>
          )}
        </Group>
        <Button
          size="xs"
          variant="default"
          disabled={!drawing || changed.length === 0}
          onClick={() => {
            if (drawing) now.load(drawing);
            close();
          }}
        >
          Restore
        </Button>
      </Group>
      <Text size="xs" c="dimmed">
        {moment(summary.createTime, zone)} · artefact {summary.artefactHash.slice(0, 12) || "none"}
      </Text>
      <Text size="sm" mt="xs">
        {changed.length === 0 ? "The same as the drawing now." : "From this version to the drawing now:"}
      </Text>
      <List size="xs">
        {changed.slice(0, 12).map((sentence) => (
          <List.Item key={sentence}>{sentence}</List.Item>
        ))}
        {changed.length > 12 && <List.Item>and {changed.length - 12} more</List.Item>}
      </List>
    </Card>
  );
}

async function drawingOf(strategyId: string, version: number): Promise<Drawing> {
  const { strategy } = await strategies.getStrategy({ strategyId, version });
  return readDrawing(strategy?.graph ?? "");
}
