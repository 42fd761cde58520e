import { useQuery } from "@tanstack/react-query";
import { strategies } from "../api/clients";

/** The catalogue, which stays the same while the platform runs. */
export function useNodeTypes() {
  return useQuery({
    queryKey: ["node-types"],
    queryFn: async () => new Map((await strategies.listNodeTypes({})).nodeTypes.map((type) => [type.name, type])),
    staleTime: Number.POSITIVE_INFINITY,
  });
}
