//! Arrows point down only: services and jobs → crates → schemas. What is not allowed here is a fault, whatever compiles.

use std::{collections::BTreeMap, fs, path::Path};

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

/// Which member may depend on which, in the order of the house; every member but those in [`ROOFS`] has a line.
///
/// A line names only members of earlier lines, so that there is an order in which the house can be built.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("nocturne-wire", &[]),
    ("nocturne-kit", &["nocturne-wire"]),
    ("nocturne-world", &[]),
    // Knows nothing about models, so that what is asked cannot depend on who is asked.
    ("nocturne-synthetic", &[]),
    ("nocturne-records", &["nocturne-wire"]),
    // Servers and clients that only tests start.
    ("nocturne-support", &[]),
    ("nocturne-model", &["nocturne-wire"]),
    ("nocturne-columns", &["nocturne-wire"]),
    ("nocturne-lake", &["nocturne-wire", "nocturne-kit"]),
    ("nocturne-bus", &["nocturne-wire", "nocturne-kit"]),
    ("nocturne-inference", &["nocturne-wire", "nocturne-kit", "nocturne-bus", "nocturne-lake", "nocturne-model"]),
    ("nocturne-batcher", &["nocturne-wire", "nocturne-kit", "nocturne-bus", "nocturne-lake", "nocturne-columns"]),
    // Knows nothing of tensors and opens no batch.
    ("nocturne-scheduler", &["nocturne-wire", "nocturne-kit", "nocturne-lake"]),
    // Knows the lake only: no log, and above all not the world that days and exams are drawn from.
    ("nocturne-sleep", &["nocturne-wire", "nocturne-kit", "nocturne-lake", "nocturne-columns", "nocturne-model"]),
    ("nocturne-compact", &["nocturne-wire", "nocturne-lake", "nocturne-columns"]),
    ("nocturne-pretrain", &["nocturne-wire", "nocturne-kit", "nocturne-model", "nocturne-world"]),
];

/// Members that may depend on every other one, and that nobody may depend on.
const ROOFS: [&str; 4] = ["nocturne", "nocturne-pipeline-tests", "nocturne-fuzz", "nocturne-faults"];

/// Members that every other one may use in its tests, and none in what it ships.
const IN_TESTS: [&str; 2] = ["nocturne-records", "nocturne-support"];

/// External crates with one owner; a name that ends in `-` stands for every crate whose name begins so.
const OWNERS: [(&str, &str); 15] = [
    ("object_store", "nocturne-lake"),
    ("arrow", "nocturne-columns"),
    ("arrow-", "nocturne-columns"),
    ("parquet", "nocturne-columns"),
    ("datafusion", "nocturne-columns"),
    ("datafusion-", "nocturne-columns"),
    ("burn", "nocturne-model"),
    ("burn-", "nocturne-model"),
    ("faer", "nocturne-model"),
    ("pulp", "nocturne-model"),
    ("safetensors", "nocturne-model"),
    ("tokenizers", "nocturne-model"),
    ("minijinja", "nocturne-model"),
    ("minijinja-", "nocturne-model"),
    ("rdkafka", "nocturne-bus"),
];

/// What does I/O or waits for it; schemas do neither, not even in tests.
const INPUT_AND_OUTPUT: [&str; 6] = ["tokio", "axum", "hyper", "reqwest", "object_store", "tempfile"];

/// One dependency of a member, of any kind: those of tests count too.
struct Arrow<'a> {
    from: &'a str,
    /// The folder of the workspace that the member lies in.
    layer: &'a str,
    to: &'a str,
    internal: bool,
}

fn workspace() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata of the workspace")
}

fn layer<'a>(workspace: &Metadata, package: &'a Package) -> &'a str {
    let path = package.manifest_path.strip_prefix(&workspace.workspace_root).expect("a member lies in the workspace");
    path.components().next().expect("a manifest lies in a folder").as_str()
}

fn arrows(workspace: &Metadata) -> Vec<Arrow<'_>> {
    let members = workspace.packages.iter().map(|package| (package, layer(workspace, package)));
    let shipped = |dependency: &&Dependency| {
        dependency.kind != DependencyKind::Development || !IN_TESTS.contains(&dependency.name.as_str())
    };
    members
        .flat_map(|(package, layer)| {
            package.dependencies.iter().filter(shipped).map(move |dependency| arrow(package, layer, dependency))
        })
        .collect()
}

fn arrow<'a>(package: &'a Package, layer: &'a str, dependency: &'a Dependency) -> Arrow<'a> {
    Arrow { from: package.name.as_str(), layer, to: dependency.name.as_str(), internal: dependency.path.is_some() }
}

fn allowed(member: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(name, _)| *name == member).map(|(_, below)| *below)
}

fn owner(external: &str) -> Option<&'static str> {
    let owns = |name: &str| external == name || (name.ends_with('-') && external.starts_with(name));
    OWNERS.iter().find(|(name, _)| owns(name)).map(|(_, owner)| *owner)
}

/// Why an arrow must not be, if it must not.
fn fault(arrow: &Arrow<'_>) -> Option<String> {
    let Arrow { from, layer, to, internal } = arrow;
    if *internal {
        if *layer == "schemas" {
            return Some(format!("{from} is a schema and depends on {to}; schemas depend on no member"));
        }
        if ROOFS.contains(to) {
            return Some(format!("{from} depends on {to}, which nobody may depend on"));
        }
        return match allowed(from) {
            Some(below) if below.contains(to) => None,
            None if ROOFS.contains(from) => None,
            Some(_) | None => Some(format!("{from} depends on {to}; that arrow is not in the house")),
        };
    }
    if *layer == "schemas" && INPUT_AND_OUTPUT.contains(to) {
        return Some(format!("{from} is a schema and depends on {to}; schemas do no I/O"));
    }
    match owner(to) {
        Some(owner) if owner != *from => Some(format!("{from} depends on {to}; only {owner} may")),
        Some(_) | None => None,
    }
}

/// Dependencies of a manifest that do not take their version from the root.
fn own_versions(manifest: &toml::Table) -> Vec<String> {
    let mut tables = vec![manifest];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    tables.extend(targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let lists = tables.into_iter().flat_map(|table| kinds.into_iter().filter_map(move |kind| table.get(kind)?.as_table()));
    let inherits = |value: &toml::Value| value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
    lists.flatten().filter(|(_, value)| !inherits(value)).map(|(name, _)| name.clone()).collect()
}

fn read(manifest: &Path) -> toml::Table {
    let text = fs::read_to_string(manifest).expect("a readable manifest");
    text.parse().expect("a manifest is TOML")
}

#[test]
fn arrows_point_down_only() {
    let workspace = workspace();
    let faults: Vec<_> = arrows(&workspace).iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The one module that may call C: it says why.
const CALLS_C: &str = "crates/bus/src/kafka/described.rs";

#[test]
fn one_module_calls_c_and_no_other() {
    let workspace = workspace();
    let root = workspace.workspace_root.as_std_path();
    let mut folders: Vec<_> = ["schemas", "crates", "services", "jobs", "tests"].map(|layer| root.join(layer)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&entry).expect("readable");
                // Spelled in two parts, so that this file is not found.
                if text.contains(concat!("(unsafe", "_code")) {
                    found.push(entry.strip_prefix(root).expect("inside").to_string_lossy().into_owned());
                }
            }
        }
    }
    assert_eq!(found, [CALLS_C]);
}

#[test]
fn every_member_has_its_place() {
    let workspace = workspace();
    let layers: BTreeMap<_, _> = workspace.packages.iter().map(|p| (p.name.as_str(), layer(&workspace, p))).collect();
    for (name, layer) in &layers {
        assert!(allowed(name).is_some() || ROOFS.contains(name), "{name} has no line in the table of arrows");
        assert!(["schemas", "crates", "services", "jobs", "tests"].contains(layer), "{name} lies in {layer}");
    }
    for name in ALLOWED.iter().map(|(name, _)| name).chain(&ROOFS) {
        assert!(layers.contains_key(name), "{name} is in the table of arrows and not in the workspace");
    }
    let libraries = ALLOWED.iter().flat_map(|(_, below)| below.iter());
    for name in libraries {
        assert!(["schemas", "crates"].contains(&layers[name]), "{name} is a process; processes never depend on each other");
    }
}

#[test]
fn the_table_of_arrows_has_an_order() {
    for (at, (name, below)) in ALLOWED.iter().enumerate() {
        for lower in *below {
            assert!(ALLOWED[..at].iter().any(|(earlier, _)| earlier == lower), "{name} stands before {lower}");
        }
    }
}

#[test]
fn versions_are_written_in_the_root_only() {
    let workspace = workspace();
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let own = own_versions(&read(package.manifest_path.as_std_path()));
        faults.extend(own.into_iter().map(|name| format!("{}: `{name}` must say `workspace = true`", package.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn arrows_that_must_not_be_are_found() {
    let arrow = |from: &'static str, layer: &'static str, to: &'static str, internal: bool| Arrow { from, layer, to, internal };
    for wrong in [
        arrow("nocturne-wire", "schemas", "nocturne-kit", true),
        arrow("nocturne-wire", "schemas", "tokio", false),
        arrow("nocturne-kit", "crates", "nocturne-lake", true),
        arrow("nocturne-sleep", "jobs", "nocturne-world", true),
        arrow("nocturne-scheduler", "services", "nocturne-model", true),
        arrow("nocturne-inference", "services", "nocturne-batcher", true),
        arrow("nocturne-inference", "services", "nocturne", true),
        arrow("nocturne-somebody", "crates", "nocturne-wire", true),
        arrow("nocturne", "services", "datafusion-expr", false),
        arrow("nocturne-columns", "crates", "object_store", false),
    ] {
        assert!(fault(&wrong).is_some(), "{} on {}", wrong.from, wrong.to);
    }
    assert_eq!(fault(&arrow("nocturne-lake", "crates", "object_store", false)), None);
    assert_eq!(fault(&arrow("nocturne", "services", "nocturne-sleep", true)), None);
}

#[test]
fn versions_that_a_member_writes_itself_are_found() {
    let manifest: toml::Table = "[dependencies]\na.workspace = true\nb = \"1\"\nc = { version = \"2\", optional = true }\n\
        [dev-dependencies]\nd = { path = \"d\" }\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n"
        .parse()
        .expect("TOML");
    assert_eq!(own_versions(&manifest), ["b", "c", "d", "e"]);
}
