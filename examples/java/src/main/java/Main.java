import algotrade.v1.IdentityServiceGrpc;
import algotrade.v1.IdentityServiceOuterClass.RegisterRequest;
import algotrade.v1.MarketDataServiceGrpc;
import algotrade.v1.MarketDataServiceOuterClass.StreamTicksRequest;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.util.UUID;

/**
 * A client of AlgoTrade in Java: makes an account, and watches ticks, also across a cut.
 *
 * <pre>mvn -q compile exec:java -Dexec.args=127.0.0.1:8080</pre>
 */
public final class Main {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] arguments) {
    String address = arguments.length > 0 ? arguments[0] : "127.0.0.1:8080";
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      Metadata login = new Metadata();
      login.put(AUTHORIZATION, "Bearer " + enter(channel));
      var markets =
          MarketDataServiceGrpc.newBlockingStub(channel)
              .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(login));
      long seen = watchTicks(markets, "AAPL", 0, 4);
      // The stream was cut: the last tick's number is where the next one goes on.
      watchTicks(markets, "AAPL", seen, 4);
    } finally {
      channel.shutdownNow();
    }
  }

  /** Makes an account, which logs it in; returns the access token. */
  private static String enter(ManagedChannel channel) {
    var request =
        RegisterRequest.newBuilder()
            .setEmail("java-" + UUID.randomUUID() + "@example.com")
            .setPassword("a long word " + UUID.randomUUID())
            .build();
    return IdentityServiceGrpc.newBlockingStub(channel).register(request).getToken().getToken();
  }

  /**
   * Prints ticks as they come, and returns the number of the last. They travel in columns: prices are
   * integers in units of 1e-8.
   */
  private static long watchTicks(
      MarketDataServiceGrpc.MarketDataServiceBlockingStub markets, String symbol, long after, int count) {
    var request = StreamTicksRequest.newBuilder().setSymbol(symbol).setAfterSequence(after).build();
    Context.CancellableContext life = Context.current().withCancellation();
    try {
      return life.call(
          () -> {
            int seen = 0;
            var stream = markets.streamTicks(request);
            while (stream.hasNext()) {
              var ticks = stream.next().getTicks(); // empty in a heartbeat or a change of the feed's state
              for (int index = 0; index < ticks.getPricesE8Count(); index++) {
                long number = ticks.getFirstSequence() + index;
                System.out.printf("%s tick %d at %.2f%n", symbol, number, ticks.getPricesE8(index) / 1e8);
                if (++seen == count) {
                  return number;
                }
              }
            }
            throw new IllegalStateException("the server ended the stream; come again with the cursor");
          });
    } catch (RuntimeException error) {
      throw error;
    } catch (Exception error) {
      throw new IllegalStateException(error);
    } finally {
      life.cancel(null); // which ends the stream
    }
  }
}
