//! Networks and ports as a job's author sees them.

use super::{job, shared, web, with};
use crate::cluster::{eventually, free_port};
use serde_json::json;

#[test]
fn ports_of_a_service_are_reachable_and_given_back() {
    let (first, fixed) = (free_port(), free_port());
    let range = [("Start", first), ("End", first)]
        .map(|(end, port)| format!("Compute.Network.PortRange{end}={port}"));
    let Some(setup) = shared("ports", &[&range[0], &range[1]]) else { return };
    let script =
        "echo $BACALHAU_PORT_any $BACALHAU_HOST_PORT_any $BACALHAU_PORT_fixed $BACALHAU_HOST_PORT_fixed
        serve() { while true; do printf \"HTTP/1.0 200 OK\\r\\n\\r\\n$1\" | nc -l -p $2 >/dev/null; done; }
        serve any $BACALHAU_PORT_any & serve fixed $BACALHAU_PORT_fixed";
    let ports = json!([{"Name": "any", "Target": 8080}, {"Name": "fixed", "Target": 9090, "Static": fixed, "HostNetwork": "127.0.0.1"}]);
    let service =
        |name: &str| with(job(name, "service", script), "Network", json!({"Type": "Bridge", "Ports": ports}));
    setup.submit(&service("ports"));
    for (port, word) in [(first, "any"), (fixed, "fixed")] {
        let is_it = || web::get(port).filter(|answer| answer.ends_with(word)).map(drop);
        eventually(&format!("port {port} answers"), is_it);
    }
    assert_eq!(setup.lines("ports"), [format!("8080 {first} 9090 {fixed}")]);

    // Both belong to that one.
    setup.submit(&with(job("another", "batch", ""), "Network", json!({"Type": "Bridge", "Ports": ports})));
    assert_eq!(setup.cluster.wait_final("another"), "Failed");
    let history = setup.history("another");
    assert!(history.contains(&format!("does not have port {fixed}")), "{history}");
    setup.cluster.ok(&["job", "stop", "ports"]);
    setup.nothing_is_left();
    assert_eq!(web::get(fixed), None);
    // And then to the next.
    setup.submit(&service("again"));
    eventually("it answers", || web::get(first).filter(|answer| answer.ends_with("any")));
    setup.cluster.ok(&["job", "stop", "again"]);
    setup.nothing_is_left();
}

#[test]
fn ports_on_the_hosts_network_are_those_that_are_told() {
    let (first, fixed) = (free_port(), free_port());
    let range = [("Start", first), ("End", first)]
        .map(|(end, port)| format!("Compute.Network.PortRange{end}={port}"));
    let Some(setup) = shared("host-ports", &[&range[0], &range[1]]) else { return };
    let script =
        "serve() { while true; do printf \"HTTP/1.0 200 OK\\r\\n\\r\\n$1\" | nc -l -p $2 >/dev/null; done; }
        serve any $BACALHAU_PORT_any & serve fixed $BACALHAU_HOST_PORT_fixed";
    let ports = json!([{"Name": "any"}, {"Name": "fixed", "Static": fixed}]);
    let network = json!({"Type": "Host", "Ports": ports});
    setup.submit(&with(job("host-ports", "service", script), "Network", network));
    for (port, word) in [(first, "any"), (fixed, "fixed")] {
        let is_it = || web::get(port).filter(|answer| answer.ends_with(word)).map(drop);
        eventually(&format!("port {port} answers"), is_it);
    }
    setup.cluster.ok(&["job", "stop", "host-ports"]);
    setup.nothing_is_left();
}

#[test]
fn network_http_reaches_the_listed_domains() {
    let Some(setup) = shared("http", &[]) else { return };
    let address = web::server("127.0.0.1");
    let script = format!(
        "wget -q -O - http://{address}/; echo; wget -O - http://elsewhere.example/; echo code $?; \
         wget -q -T 3 -O - -Y off http://{address}/ || echo no other way"
    );
    let options = ["--name", "http", "--network", "http", "--domain", "127.0.0.1"];
    let run = [&["docker", "run"], &options[..], &["busybox", "--", "sh", "-c", &script]].concat();
    setup.cluster.ok(&run);
    let output = setup.output("http");
    let id = setup.cluster.json(&["job", "describe", "http"])["Job"]["ID"].as_str().unwrap().to_owned();
    assert_eq!(output["Stdout"], format!("hello, {id}\ncode 1\nno other way\n"), "{output}");
    assert!(output["stderr"].as_str().unwrap().contains("403"), "{output}");
    setup.nothing_is_left();
}

#[test]
fn host_and_bridge_reach_the_host() {
    let Some(setup) = shared("reach", &[]) else { return };
    let port = web::server("0.0.0.0").port();
    for (network, host) in [("host", "127.0.0.1"), ("bridge", "host.docker.internal")] {
        let url = format!("http://{host}:{port}/");
        let name = format!("on-{network}");
        let run = ["docker", "run", "--name", &name, "--network", network, "busybox", "--"];
        setup.cluster.ok(&[&run[..], &["wget", "-q", "-O", "-", &url]].concat());
        assert_eq!(setup.output(&name)["Stdout"], "hello, -");
    }
    setup.nothing_is_left();
}

#[test]
fn a_node_that_rejects_networked_jobs_runs_the_others_without_a_network() {
    let Some(setup) = shared("rejects", &["JobAdmissionControl.RejectNetworkedJobs=true"]) else { return };
    let port = web::server("0.0.0.0").port();
    let script = format!("ls /sys/class/net; wget -q -O - http://127.0.0.1:{port}/");
    let mut default = job("default", "batch", &script);
    default["Tasks"][0].as_object_mut().unwrap().remove("Network");
    for job in [default, job("none", "batch", &script)] {
        setup.submit(&job);
        let name = job["Name"].as_str().unwrap();
        assert_eq!(setup.cluster.wait_final(name), "Completed");
        let output = setup.output(name);
        assert_eq!((&output["Stdout"], &output["ExitCode"]), (&json!("lo\n"), &json!(1)), "{name}: {output}");
    }
    setup.submit(&with(job("host", "batch", &script), "Network", json!({"Type": "Host"})));
    assert_eq!(setup.cluster.wait_final("host"), "Failed");
    let history = setup.history("host");
    assert!(history.contains("network"), "{history}");
    setup.nothing_is_left();
}
