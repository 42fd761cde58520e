import { useQuery } from "@connectrpc/connect-query";
import { Alert, Badge, Button, Card, FileButton, Group, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link, useLocation } from "wouter";
import { strategies } from "../api/clients";
import { failureOf } from "../api/errors";
import { moment } from "../api/format";
import { tellFailure } from "../api/tell";
import { documentOf, emptyDrawing, readDrawing, textOf } from "../editor/document";
import { StrategyService } from "../generated/algotrade/v1/strategy_service_pb";
import { confirmed } from "../shell/confirm";
import { usePreferences } from "../shell/preferences";
import { TemplatePicture } from "./TemplatePicture";

const EMPTY = JSON.stringify(documentOf(emptyDrawing("New strategy")));

export function StrategiesPage() {
  const list = useQuery(StrategyService.method.listStrategies, { pageSize: 200 });
  const gallery = useQuery(StrategyService.method.listTemplates, {}, { staleTime: Number.POSITIVE_INFINITY });
  const zone = usePreferences((state) => state.zone);
  const queries = useQueryClient();
  const [, go] = useLocation();

  async function create(graph: string, description = "") {
    try {
      const { strategy } = await strategies.createStrategy({ requestId: crypto.randomUUID(), graph, description });
      await queries.invalidateQueries();
      go(`/strategies/${strategy?.strategyId}`);
    } catch (error) {
      tellFailure("Not created", error);
    }
  }

  async function take(file: File | null) {
    if (!file) return;
    try {
      await create(textOf(readDrawing(await file.text())));
    } catch (error) {
      tellFailure("Not imported", error);
    }
  }

  async function remove(strategyId: string, name: string) {
    const sure = await confirmed(
      `Delete ${name}?`,
      "All its versions go with it, for ever. Sessions keep what they run.",
      "Delete",
    );
    if (!sure) return;
    await strategies.deleteStrategy({ strategyId }).catch((error) => tellFailure("Not deleted", error));
    await queries.invalidateQueries();
  }

  return (
    <Stack component="main" p="lg" gap="lg">
      <Group justify="space-between">
        <Title order={1} size="h2">
          Strategies
        </Title>
        <Group>
          <FileButton accept="application/json,.json" onChange={(file) => void take(file)}>
            {(props) => (
              <Button variant="default" {...props}>
                Import JSON …
              </Button>
            )}
          </FileButton>
          <Button onClick={() => void create(EMPTY)}>New strategy</Button>
        </Group>
      </Group>
      {list.error && <Alert color="red">{failureOf(list.error).sentence}</Alert>}
      {list.data && list.data.strategies.length > 0 && (
        <Table highlightOnHover>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Name</Table.Th>
              <Table.Th>Version</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th>Saved</Table.Th>
              <Table.Th>
                <span className="hidden">Actions</span>
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {list.data.strategies.map((one) => (
              <Table.Tr key={one.strategyId}>
                <Table.Td>
                  <Link href={`/strategies/${one.strategyId}`}>{one.name || "Untitled"}</Link>
                </Table.Td>
                <Table.Td>{one.version}</Table.Td>
                <Table.Td>
                  <Badge variant="light" color={one.artefactHash ? "teal" : "yellow"}>
                    {one.artefactHash ? "compiles" : "draft"}
                  </Badge>
                </Table.Td>
                <Table.Td>{moment(one.updateTime, zone)}</Table.Td>
                <Table.Td ta="right">
                  <Button
                    size="compact-xs"
                    variant="subtle"
                    color="red"
                    onClick={() => void remove(one.strategyId, one.name)}
                  >
                    Delete
                  </Button>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      <div>
        <Title order={2} size="h4" mb="xs">
          Start from a template
        </Title>
        <SimpleGrid cols={{ base: 1, sm: 2, lg: 4 }}>
          {gallery.data?.templates.map((template) => (
            <Card key={template.templateId} withBorder padding="md">
              <Card.Section>
                <TemplatePicture graph={template.graph} />
              </Card.Section>
              <Text fw={600} mt="sm">
                {template.name}
              </Text>
              <Text size="sm" c="dimmed" flex={1}>
                {template.description}
              </Text>
              <Button
                mt="sm"
                variant="light"
                aria-label={`Use ${template.name}`}
                onClick={() => void create(template.graph, template.description)}
              >
                Use
              </Button>
            </Card>
          ))}
        </SimpleGrid>
      </div>
    </Stack>
  );
}
