"""The gateway: renders Envoy's configuration from the API's own descriptors, and runs Envoy as a child."""

from algotrade.platform.gateway.envoy import Gateway, GatewayError
from algotrade.platform.gateway.render import Upstreams

__all__ = ["Gateway", "GatewayError", "Upstreams"]
