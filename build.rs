//! Names the shared library: soname on ELF, install name on macOS. Writes nothing into the source tree.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    match system.as_str() {
        "macos" | "ios" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libwhimbrel.0.dylib");
            println!("cargo:rustc-cdylib-link-arg=-Wl,-headerpad_max_install_names");
        }
        _ if unix => {
            // While the version is 0.x the soname's number is 0: see docs on the ABI.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwhimbrel.so.0");
            // Worker threads and fork handlers live in this library: it must never be unmapped.
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        _ => {}
    }
}
