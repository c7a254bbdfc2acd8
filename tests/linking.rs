//! How programs come by the library: opened at run time beside OpenSSL and beside a second copy of itself, closed while its
//! threads live, and installed, then found by pkg-config and linked as a shared and as a static library.
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

mod c_programs;

use c_programs::{folder, root};

fn done(what: &str, out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{what}: {}\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    text
}

/// OpenSSL 3's libcrypto as the system's loader finds it.
fn libcrypto() -> PathBuf {
    let listed = Command::new("ldconfig").arg("-p").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let listed = done("ldconfig", &listed.expect("ldconfig runs"));
    let line = listed.lines().find(|l| l.trim_start().starts_with("libcrypto.so.3"));
    line.and_then(|l| l.rsplit("=> ").next()).map(PathBuf::from).expect("libcrypto.so.3 (package libssl3) is needed")
}

#[cfg(target_os = "linux")]
#[test]
fn it_lives_beside_openssl_and_beside_itself_and_stays_while_threads_live() {
    let program = folder().join("beside");
    let out = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root().join("include"))
        .arg("-o")
        .arg(&program)
        .arg(root().join("tests/c/beside.c"))
        .arg("-ldl")
        .output();
    done("cc", &out.expect("a C compiler"));
    let first = folder().join("libwhimbrel.so");
    // Another file: the loader takes the same file twice for one library.
    let second = folder().join("second-copy.so");
    std::fs::copy(&first, &second).expect("a copy");
    let out = Command::new(program).arg(folder()).args([&first, &second, &libcrypto()]).output();
    done("beside", &out.expect("it runs"));
}

/// What `make install` lays out, without another build: the release library need not be there for this.
fn installed(name: &str) -> PathBuf {
    let prefix = folder().join(name);
    let _ = std::fs::remove_dir_all(&prefix);
    for made in ["include", "lib/pkgconfig"] {
        std::fs::create_dir_all(prefix.join(made)).expect("a folder");
    }
    std::fs::copy(root().join("include/whimbrel.h"), prefix.join("include/whimbrel.h")).expect("the header");
    let shared = folder().join("libwhimbrel.so").canonicalize().expect("the shared library");
    let archive = shared.with_file_name("libwhimbrel.a");
    assert!(archive.exists(), "cargo builds the archive with the shared library");
    std::fs::copy(archive, prefix.join("lib/libwhimbrel.a")).expect("the archive");
    std::fs::copy(shared, prefix.join("lib/libwhimbrel.so.0")).expect("the shared library");
    std::os::unix::fs::symlink("libwhimbrel.so.0", prefix.join("lib/libwhimbrel.so")).expect("a link");
    let page = std::fs::read_to_string(root().join("tools/whimbrel.pc.in")).expect("the pkg-config template");
    let lib = prefix.join("lib");
    let page = page
        .replace("@PREFIX@", prefix.to_str().expect("a plain path"))
        .replace("@LIBDIR@", lib.to_str().expect("a plain path"))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    assert!(!page.contains('@'), "the template has a name that the Makefile does not fill");
    std::fs::write(prefix.join("lib/pkgconfig/whimbrel.pc"), &page).expect("the pkg-config file");
    let private = page.lines().find_map(|l| l.strip_prefix("Libs.private: ")).expect("what the archive needs");
    let cmake = prefix.join("lib/cmake/whimbrel");
    std::fs::create_dir_all(&cmake).expect("a folder");
    for name in ["whimbrelConfig.cmake", "whimbrelConfigVersion.cmake"] {
        let template = root().join("tools").join(name).with_extension("cmake.in");
        let text = std::fs::read_to_string(template).expect("the template");
        let text =
            text.replace("@ABI@", "0").replace("@VERSION@", env!("CARGO_PKG_VERSION")).replace("@PRIVATE@", private);
        assert!(!text.contains('@'), "{name} has a name that the Makefile does not fill");
        std::fs::write(cmake.join(name), text).expect("the file for CMake");
    }
    prefix
}

fn flags(prefix: &Path, more: &[&str]) -> Vec<String> {
    let out = Command::new("pkg-config")
        .args(["--cflags", "--libs"])
        .args(more)
        .arg("whimbrel")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .output();
    let out = done("pkg-config", &out.expect("pkg-config is needed"));
    out.split_whitespace().map(str::to_owned).collect()
}

fn linked(prefix: &Path, name: &str, flags: &[String]) -> PathBuf {
    let program = folder().join(name);
    let out = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"])
        .arg(root().join("tests/c/small_server.c"))
        .args(flags)
        .arg("-o")
        .arg(&program)
        .output();
    done(name, &out.expect("a C compiler"));
    prints_its_port(prefix, &program);
    program
}

fn prints_its_port(prefix: &Path, program: &Path) {
    let mut run = Command::new(program);
    run.args([folder().join("cert.pem"), folder().join("key.pem")]).env("LD_LIBRARY_PATH", prefix.join("lib"));
    // Standard input is at its end: it says its port and stops.
    let out = run.stdin(Stdio::null()).output().expect("it runs");
    let name = program.display().to_string();
    assert!(done(&name, &out).trim().parse::<u16>().is_ok(), "{name} prints its port");
}

fn needs_the_shared_library(program: &Path) -> bool {
    let out = Command::new("readelf").arg("-d").arg(program).output().expect("readelf (binutils) is needed");
    done("readelf", &out).contains("libwhimbrel.so.0")
}

#[cfg(target_os = "linux")]
#[test]
fn pkg_config_links_it_shared_and_static() {
    let prefix = installed("installed");
    let shared = linked(&prefix, "linked-shared", &flags(&prefix, &[]));
    assert!(needs_the_shared_library(&shared));
    // Without the shared library beside it the linker takes the archive.
    std::fs::remove_file(prefix.join("lib/libwhimbrel.so")).expect("the link");
    let alone = linked(&prefix, "linked-static", &flags(&prefix, &["--static"]));
    assert!(!needs_the_shared_library(&alone));
}

/// A project for CMake that asks for `wanted` of the package and links `target`; its build folder, or what CMake said.
#[cfg(target_os = "linux")]
fn cmake(prefix: &Path, name: &str, wanted: &str, target: &str) -> Result<PathBuf, String> {
    let project = folder().join(name);
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir_all(&project).expect("a folder");
    let source = root().join("tests/c/small_server.c");
    let text = format!(
        "cmake_minimum_required(VERSION 3.10)\nproject({name} C)\nfind_package(whimbrel {wanted} REQUIRED)\n\
         add_executable({name} {})\ntarget_link_libraries({name} PRIVATE {target})\n",
        source.display()
    );
    std::fs::write(project.join("CMakeLists.txt"), text).expect("a file");
    let build = project.join("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&project).arg("-B").arg(&build).arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    let out = configure.output().expect("cmake is needed: make setup");
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    done("cmake --build", &Command::new("cmake").arg("--build").arg(&build).output().expect("cmake"));
    let program = build.join(name);
    prints_its_port(prefix, &program);
    Ok(program)
}

#[cfg(target_os = "linux")]
#[test]
fn cmake_links_it_shared_and_static_wherever_it_was_moved() {
    let made = installed("for-cmake");
    let moved = folder().join("moved for cmake");
    let _ = std::fs::remove_dir_all(&moved);
    std::fs::rename(made, &moved).expect("a folder can be moved");
    let version = env!("CARGO_PKG_VERSION");
    let shared = cmake(&moved, "cmake_shared", "0.1", "whimbrel::whimbrel").expect("the package is found");
    assert!(needs_the_shared_library(&shared));
    let alone = cmake(&moved, "cmake_static", &format!("{version} EXACT"), "whimbrel::static").expect("it is found");
    assert!(!needs_the_shared_library(&alone));
    for other in ["0.2", "0.0.9", "1", "0.1.999"] {
        let said = cmake(&moved, "cmake_other", other, "whimbrel::whimbrel").expect_err("another series is refused");
        assert!(said.contains(version), "CMake names the version that is there: {said}");
    }
    // Without a library there is no package.
    std::fs::remove_file(moved.join("lib/libwhimbrel.so")).expect("the link");
    std::fs::remove_file(moved.join("lib/libwhimbrel.a")).expect("the archive");
    let said = cmake(&moved, "cmake_none", "", "whimbrel::whimbrel").expect_err("nothing is there");
    assert!(said.contains("no whimbrel library"), "{said}");
}
