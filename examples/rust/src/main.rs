//! A client of AlgoTrade in Rust: makes an account, and watches ticks, also across a cut.
//!
//!     cargo run -- http://127.0.0.1:8080

use std::time::{SystemTime, UNIX_EPOCH};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

// Modules as the packages are nested: what one file imports of another it finds so.
pub mod algotrade {
    pub mod v1 {
        tonic::include_proto!("algotrade.v1");
    }
}
pub mod buf {
    pub mod validate {
        tonic::include_proto!("buf.validate");
    }
}
pub mod google {
    pub mod api {
        tonic::include_proto!("google.api");
    }
}

use algotrade::v1::identity_service_client::IdentityServiceClient;
use algotrade::v1::market_data_service_client::MarketDataServiceClient;
use algotrade::v1::stream_ticks_response::Payload;
use algotrade::v1::{RegisterRequest, StreamTicksRequest};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8080".to_string());
    let channel = Channel::from_shared(address)?.connect().await?;
    let token = enter(channel.clone()).await?;
    let seen = watch_ticks(channel.clone(), &token, "AAPL", 0, 4).await?;
    // The stream was cut: the last tick's number is where the next one goes on.
    watch_ticks(channel, &token, "AAPL", seen, 4).await?;
    Ok(())
}

/// Makes an account, which logs it in; returns what goes into the metadata of each call.
async fn enter(channel: Channel) -> Result<MetadataValue<Ascii>, Error> {
    let unique = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let request = RegisterRequest {
        email: format!("rust-{unique}@example.com"),
        password: format!("a long word {unique}"),
        ..Default::default()
    };
    let registered = IdentityServiceClient::new(channel).register(request).await?.into_inner();
    let token = registered.token.ok_or("no token came")?.token;
    Ok(format!("Bearer {token}").parse()?)
}

/// Prints ticks as they come, and returns the number of the last. They travel in columns: prices are integers in units
/// of 1e-8.
async fn watch_ticks(
    channel: Channel,
    token: &MetadataValue<Ascii>,
    symbol: &str,
    after: i64,
    count: usize,
) -> Result<i64, Status> {
    let with_token = |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    };
    let request = StreamTicksRequest { symbol: symbol.to_string(), after_sequence: Some(after), ..Default::default() };
    let mut client = MarketDataServiceClient::with_interceptor(channel, with_token);
    let mut stream = client.stream_ticks(request).await?.into_inner();
    let mut seen = 0;
    while let Some(message) = stream.message().await? {
        let Some(Payload::Ticks(ticks)) = message.payload else { continue }; // else a heartbeat
        for (number, price) in (ticks.first_sequence..).zip(ticks.prices_e8) {
            println!("{symbol} tick {number} at {:.2}", price as f64 / 1e8);
            seen += 1;
            if seen == count {
                return Ok(number); // which drops the stream, and so ends it
            }
        }
    }
    Err(Status::new(Code::Unavailable, "the server ended the stream; come again with the cursor"))
}
