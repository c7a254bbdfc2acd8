//! C and C++ programs of `tests/c`: compiled with the system's compilers against the committed header and the shared
//! library of this build, and run with a folder that holds a certificate for localhost.
#![allow(dead_code, reason = "each test program uses its own part")]
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a certificate for localhost, its key, and the shared library under its soname.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ffi-c");
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("a temporary file");
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a temporary file");
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join("ed25519-cert.pem"), certificate.pem()).expect("a temporary file");
        std::fs::write(folder.join("ed25519-key.pem"), key.serialize_pem()).expect("a temporary file");
        let name = format!("{}whimbrel{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let program = std::env::current_exe().expect("this program has a path");
        let library = match std::env::var_os("WB_LIBRARY") {
            // Another build of it, such as the one that is shipped.
            Some(given) => Some(std::fs::canonicalize(given).expect("WB_LIBRARY is there")),
            None => program.ancestors().take(4).map(|f| f.join(&name)).find(|p| p.exists()),
        };
        let library = library.expect("cargo builds the cdylib before the tests");
        let soname = if cfg!(target_os = "macos") { "libwhimbrel.0.dylib" } else { "libwhimbrel.so.0" };
        for link in [name.as_str(), soname] {
            let link = folder.join(link);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&library, link).expect("a link can be made");
        }
        folder
    })
}

pub fn compile(source: &Path, name: &str) -> PathBuf {
    compile_with("cc", &["-std=c11"], source, name)
}

/// With another compiler or other flags.
pub fn compile_with(compiler: &str, flags: &[&str], source: &Path, name: &str) -> PathBuf {
    let program = folder().join(name);
    let object = program.with_extension("o");
    let mut command = Command::new(compiler);
    command.args(["-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    // Before ours, so that a test may put another header first.
    command.args(flags).arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    let runtime = std::env::var_os("WB_ASAN_RUNTIME");
    if runtime.is_some() {
        command.arg("-fsanitize=address");
    }
    succeed(command.arg("-c").arg("-o").arg(&object).arg(source), name);
    let mut command = Command::new(compiler);
    command.arg("-o").arg(&program).arg(&object).arg("-L").arg(folder()).args(["-lwhimbrel", "-lpthread"]);
    command.arg(format!("-Wl,-rpath,{}", folder().display()));
    // Library and program share the sanitizer's runtime that came with the library's compiler (`tests/sanitize.sh`).
    if let Some(runtime) = runtime {
        command.arg("-Wl,--whole-archive").arg(runtime).args(["-Wl,--no-whole-archive", "-rdynamic", "-ldl", "-lm"]);
    }
    succeed(&mut command, name);
    program
}

fn succeed(command: &mut Command, name: &str) {
    let out = command.output().unwrap_or_else(|e| panic!("the compiler for {name} does not run: {e}"));
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
}

pub fn run(program: &Path) {
    let child = Command::new(program).arg(folder()).stdin(Stdio::null()).output().expect("the program runs");
    let name = program.display();
    assert!(
        child.status.success(),
        "{name}: {}\n{}{}",
        child.status,
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
}
