import { create } from "zustand";
import { persist } from "zustand/middleware";
import type { Zone } from "../api/format";

interface Preferences {
  zone: Zone;
  setZone(zone: Zone): void;
}

export const usePreferences = create<Preferences>()(
  persist((set) => ({ zone: "UTC", setZone: (zone) => set({ zone }) }), { name: "algotrade.preferences" }),
);
