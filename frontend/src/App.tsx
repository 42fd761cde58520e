import { Center, Loader } from "@mantine/core";
import { lazy, Suspense } from "react";
import { Redirect, Route, Router, Switch } from "wouter";
import { useHashLocation } from "wouter/use-hash-location";
import { LoginPage } from "./account/LoginPage";
import { useLogin } from "./api/tokens";
import { BacktestsPage } from "./backtest/BacktestsPage";
import { Realtime } from "./realtime/Realtime";
import { SessionsPage } from "./sessions/SessionsPage";
import { Shell } from "./shell/Shell";
import { StrategiesPage } from "./strategies/StrategiesPage";

const EditorPage = lazy(async () => ({ default: (await import("./editor/EditorPage")).EditorPage }));
const SessionPage = lazy(async () => ({ default: (await import("./sessions/SessionPage")).SessionPage }));
const BacktestPage = lazy(async () => ({ default: (await import("./backtest/BacktestPage")).BacktestPage }));
const ComparePage = lazy(async () => ({ default: (await import("./backtest/ComparePage")).ComparePage }));
const CompareSessionsPage = lazy(async () => ({
  default: (await import("./sessions/CompareSessionsPage")).CompareSessionsPage,
}));
const AccountPage = lazy(async () => ({ default: (await import("./account/AccountPage")).AccountPage }));
const AdminPage = lazy(async () => ({ default: (await import("./admin/AdminPage")).AdminPage }));
const ForwardingPage = lazy(async () => ({ default: (await import("./inbox/ForwardingPage")).ForwardingPage }));
const OptimizationPage = lazy(async () => ({
  default: (await import("./optimise/OptimizationPage")).OptimizationPage,
}));
const NewBacktestPage = lazy(async () => ({ default: (await import("./backtest/NewBacktestPage")).NewBacktestPage }));
const NewSessionPage = lazy(async () => ({ default: (await import("./sessions/NewSessionPage")).NewSessionPage }));
const NewOptimizationPage = lazy(async () => ({
  default: (await import("./optimise/NewOptimizationPage")).NewOptimizationPage,
}));

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
            <Route path="/sessions/compare/:ids">{({ ids }) => <CompareSessionsPage ids={ids.split("+")} />}</Route>
            <Route path="/sessions/:id">{({ id }) => <SessionPage key={id} sessionId={id} />}</Route>
            <Route path="/optimizations/new/:id">{({ id }) => <NewOptimizationPage backtestId={id} />}</Route>
            <Route path="/optimizations/:id">{({ id }) => <OptimizationPage key={id} optimizationId={id} />}</Route>
            <Route path="/account" component={AccountPage} />
            <Route path="/admin" component={AdminPage} />
            <Route path="/forwarding" component={ForwardingPage} />
            <Route>
              <Redirect to="/strategies" replace />
            </Route>
          </Switch>
        </Suspense>
      </Shell>
    </Router>
  );
}
