import { createClient } from "@connectrpc/connect";
import { BacktestService } from "../generated/algotrade/v1/backtest_service_pb";
import { ForwardTestService } from "../generated/algotrade/v1/forward_test_service_pb";
import { IdentityService } from "../generated/algotrade/v1/identity_service_pb";
import { MarketDataService } from "../generated/algotrade/v1/market_data_service_pb";
import { NotificationService } from "../generated/algotrade/v1/notification_service_pb";
import { RealtimeService } from "../generated/algotrade/v1/realtime_service_pb";
import { StrategyService } from "../generated/algotrade/v1/strategy_service_pb";
import { transport } from "./transport";

export const identity = createClient(IdentityService, transport);
export const strategies = createClient(StrategyService, transport);
export const backtests = createClient(BacktestService, transport);
export const sessions = createClient(ForwardTestService, transport);
export const market = createClient(MarketDataService, transport);
export const notices = createClient(NotificationService, transport);
export const realtime = createClient(RealtimeService, transport);
