// Makes the stubs from the protos at every build; wants protoc, which `PROTOC` may name.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = "../../protos";
    let wanted = ["identity", "market_data"].map(|name| format!("{protos}/algotrade/v1/{name}_service.proto"));
    tonic_prost_build::configure().build_server(false).compile_protos(&wanted, &[protos.to_string()])?;
    Ok(())
}
