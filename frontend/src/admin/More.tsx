import { Alert, Button } from "@mantine/core";
import { failureOf } from "../api/errors";

interface Props {
  /** A query that comes in pages. */
  list: { hasNextPage: boolean; isFetching: boolean; error: unknown; fetchNextPage(): Promise<unknown> };
}

/** Below a table: the next page of it, or why there is none. */
export function More({ list }: Props) {
  if (list.error) return <Alert color="red">{failureOf(list.error).sentence}</Alert>;
  if (!list.hasNextPage) return null;
  return (
    <Button mt="sm" variant="default" loading={list.isFetching} onClick={() => void list.fetchNextPage()}>
      More
    </Button>
  );
}

/** How the pages of a list of the API follow each other. */
export const PAGES = {
  pageParamKey: "pageToken",
  getNextPageParam: ({ nextPageToken }: { nextPageToken: string }) => nextPageToken || undefined,
} as const;
