import { useEffect } from "react";
import { queries } from "../api/queries";
import { Follower } from "./follow";
import { forgetAll, useRealtime } from "./store";

let follower: Follower | undefined;

/** Follows what happens while somebody is logged in. */
export function Realtime() {
  useEffect(() => {
    const mine = new Follower();
    follower = mine;
    void mine.run();
    // After a snapshot, lists that were read before it may lack what happened in between.
    const unsubscribe = useRealtime.subscribe((now, before) => {
      if (now.epoch > before.epoch && before.epoch > 0) void queries.invalidateQueries({ queryKey: ["session"] });
    });
    return () => {
      unsubscribe();
      mine.stop();
      forgetAll();
    };
  }, []);
  return null;
}

/** Has the prices of these symbols sent while the component is shown. */
export function useSymbols(symbols: readonly string[]): void {
  const key = symbols.join();
  useEffect(() => {
    follower?.show(key === "" ? [] : key.split(","));
  }, [key]);
}
