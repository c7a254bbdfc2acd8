//! Turns the model checker's primitives on, here and nowhere else.
fn main() {
    println!("cargo::rustc-cfg=model");
    println!("cargo::rerun-if-changed=build.rs");
}
