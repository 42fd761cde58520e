import { Center, Loader } from "@mantine/core";
import { lazy, Suspense } from "react";
import { Redirect, Route, Router, Switch } from "wouter";
import { useHashLocation } from "wouter/use-hash-location";
import { LoginPage } from "./account/LoginPage";
import { useLogin } from "./api/tokens";
import { BacktestsPage } from "./backtest/BacktestsPage";
import { ComparePage } from "./backtest/ComparePage";
import { NewBacktestPage } from "./backtest/NewBacktestPage";
import { Realtime } from "./realtime/Realtime";
import { NewSessionPage } from "./sessions/NewSessionPage";
import { SessionsPage } from "./sessions/SessionsPage";
import { Shell } from "./shell/Shell";
import { StrategiesPage } from "./strategies/StrategiesPage";

const EditorPage = lazy(() => import("./editor/EditorPage").then((module) => ({ default: module.EditorPage })));
const SessionPage = lazy(() => import("./sessions/SessionPage").then((module) => ({ default: module.SessionPage })));
const BacktestPage = lazy(() => import("./backtest/BacktestPage").then((module) => ({ default: module.BacktestPage })));

const waiting = (
  <Center h="60vh">
    <Loader aria-label="Loading" />
  </Center>
);

export function App() {
  const { user, settled } = useLogin();
  if (!settled) return waiting;
  if (!user) return <LoginPage />;
  return (
    <Router hook={useHashLocation}>
      <Realtime />
      <Shell>
        <Suspense fallback={waiting}>
          <Switch>
            <Route path="/strategies" component={StrategiesPage} />
            <Route path="/strategies/:id">{({ id }) => <EditorPage key={id} strategyId={id} />}</Route>
            <Route path="/backtests" component={BacktestsPage} />
            <Route path="/backtests/new/:strategy?">
              {({ strategy }) => <NewBacktestPage strategyId={strategy} />}
            </Route>
            <Route path="/backtests/compare/:ids">{({ ids }) => <ComparePage ids={ids.split("+")} />}</Route>
            <Route path="/backtests/:id">{({ id }) => <BacktestPage key={id} backtestId={id} />}</Route>
            <Route path="/sessions" component={SessionsPage} />
            <Route path="/sessions/new/:strategy?">{({ strategy }) => <NewSessionPage strategyId={strategy} />}</Route>
            <Route path="/sessions/:id">{({ id }) => <SessionPage key={id} sessionId={id} />}</Route>
            <Route>
              <Redirect to="/strategies" replace />
            </Route>
          </Switch>
        </Suspense>
      </Shell>
    </Router>
  );
}
