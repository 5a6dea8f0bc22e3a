//! A submission from JSON to what is stored, as recorded from Bacalhau 1.9.

use bacalhau_model::defaults::{JobDefaults, TypeDefaults};
use bacalhau_model::{Job, ResourcesConfig, diff, job_file, json, normalize, sanitize, validate};
use serde_json::{Value, json};

/// The defaults that Bacalhau 1.9 ships for batch jobs.
fn defaults() -> JobDefaults {
    let resources =
        ResourcesConfig { cpu: "500m".into(), memory: "512Mb".into(), ..ResourcesConfig::default() };
    JobDefaults { batch: TypeDefaults { resources, ..TypeDefaults::default() }, ..JobDefaults::default() }
}

/// Everything an orchestrator does with a job before it stores it, identity aside. The error says what was wrong.
fn submit(value: Value) -> Result<(Job, Vec<String>), String> {
    let mut job = job_file::job_from_value(value).map_err(|e| e.to_string())?;
    validate::submission(&job).map_err(|errors| errors.join("\n"))?;
    normalize::normalize(&mut job);
    let warnings = sanitize::sanitize(&mut job);
    job.id = "j-1".to_owned();
    defaults().apply(&mut job);
    validate::complete(&job).map_err(|errors| errors.join("\n"))?;
    Ok((job, warnings))
}

fn recorded() -> Value {
    json!({"Name": "hello", "Type": "batch", "Count": 2, "Tasks": [{
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {
            "EntryModule": "/wasm/hello.wasm", "Entrypoint": "_start", "Parameters": ["1"]}},
        "Publisher": {"Type": "local"},
        "InputSources": [{
            "Source": {"Type": "localDirectory", "Params": {"SourcePath": "/srv/bacalhau/in"}}, "Target": "/wasm"}],
        "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
        "Env": {"GREETING": "hi"},
        "Timeouts": {"ExecutionTimeout": 600}}],
        "Labels": {"env": "dev"}, "Meta": {"owner": "me"},
        "Constraints": [{"Key": "os_type", "Operator": "in", "Values": ["linux"]}]})
}

#[test]
fn a_job_is_stored_as_recorded() {
    let (job, warnings) = submit(recorded()).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(
        json::to_string(&job).unwrap(),
        concat!(
            r#"{"ID":"j-1","Name":"hello","Namespace":"default","Type":"batch","Priority":0,"Count":2,"#,
            r#""Constraints":[{"Key":"os_type","Operator":"in","Values":["linux"]}],"Meta":{"owner":"me"},"#,
            r#""Labels":{"env":"dev"},"Tasks":[{"Name":"main","Engine":{"Type":"wasm","Params":"#,
            r#"{"EntryModule":"/wasm/hello.wasm","Entrypoint":"_start","Parameters":["1"]}},"#,
            r#""Publisher":{"Type":"local"},"Env":{"GREETING":"hi"},"InputSources":[{"Source":"#,
            r#"{"Type":"localDirectory","Params":{"SourcePath":"/srv/bacalhau/in"}},"Alias":"","Target":"/wasm"}],"#,
            r#""ResultPaths":[{"Name":"outputs","Path":"/outputs"}],"#,
            r#""Resources":{"CPU":"500m","Memory":"512mb"},"Network":{"Type":"Default"},"#,
            r#""Timeouts":{"ExecutionTimeout":600}}],"State":{"StateType":"Undefined"},"#,
            r#""Version":0,"Revision":0,"CreateTime":0,"ModifyTime":0}"#
        )
    );
}

#[test]
fn what_clients_may_not_set_is_dropped_with_the_recorded_warnings() {
    let mut value = recorded();
    let more = json!({"ID": "x", "Revision": 1, "Version": 1, "CreateTime": 1, "ModifyTime": 1,
        "State": {"StateType": "Running"}, "Meta": {"bacalhau.org/a": "b"}});
    let map = value.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    let (job, warnings) = submit(value).unwrap();
    assert_eq!(
        warnings,
        [
            "job state is ignored when submitting a job",
            "job revision is ignored when submitting a job",
            "job version is ignored when submitting a job",
            "job create time is ignored when submitting a job",
            "job modify time is ignored when submitting a job",
            "job ID is ignored when submitting a batch job",
            "job meta key \"bacalhau.org/a\" is reserved and will be ignored",
        ]
    );
    assert!(job.meta.is_empty());
}

#[test]
fn the_same_job_again_is_no_change_and_another_label_is() {
    let (mut stored, _) = submit(recorded()).unwrap();
    stored.meta.insert("bacalhau.org/orchestrator.id".to_owned(), "n-1".to_owned());
    (stored.version, stored.revision, stored.create_time) = (1, 3, 1_795_381_677_831_711_297);
    assert_eq!(diff::diff(&stored, &submit(recorded()).unwrap().0), "");

    let mut value = recorded();
    value["Labels"] = json!({"env": "prod"});
    assert_eq!(
        diff::diff(&stored, &submit(value).unwrap().0),
        "    },\n    \"Labels\": {\n-     \"env\": \"dev\"\n+     \"env\": \"prod\"\n    },\n    \"Tasks\": [\n"
    );
}

/// Bacalhau's smallest submission, in the lower case of its Python client.
#[test]
fn the_smallest_job() {
    let value = json!({"type": "batch", "tasks": [{"name": "main", "engine": {"type": "docker", "params": {"Image": "ubuntu"}}}]});
    let (job, warnings) = submit(value).unwrap();
    assert_eq!((job.count, job.namespace.as_str(), warnings.len()), (1, "default", 0));
    assert_eq!(job.tasks[0].engine.param("Image"), Some(&json!("ubuntu")));
}
